import numpy as np
import pytest
import torch

from joyvasa.motion.timing import fit_motion_length, resample_motion
from tests.joyvasa.motion.test_file import assert_equal, sequence


def ramp(n_frames, rate):
    motion = sequence(n_frames, rate=rate)
    motion.pitch[:, 0] = torch.arange(n_frames) / rate
    return motion


def test_the_same_rate_changes_nothing():
    motion = sequence()
    assert resample_motion(motion, 25.0) is motion


@pytest.mark.parametrize(("rate", "n_frames"), [(20.0, 93), (30.0, 148), (24.0, 1), (60.0, 601)])
def test_speed_and_duration_are_kept(rate, n_frames):
    found = resample_motion(ramp(n_frames, rate), 25.0)
    assert found.frames_per_second == 25
    assert len(found) / 25 == pytest.approx(n_frames / rate, abs=1 / 50)
    expected = np.minimum(np.arange(len(found)) / 25, (n_frames - 1) / rate)
    np.testing.assert_allclose(found.pitch[:, 0], expected, atol=1e-5)


def test_frames_that_fall_on_one_another_are_equal():
    motion = sequence(20, rate=50.0)
    found = resample_motion(motion, 25.0)
    assert_equal(found, resample_motion(motion, 25.0))
    torch.testing.assert_close(found.expression, motion.expression[::2])


def test_angles_go_the_shorter_way_around():
    motion = sequence(2, rate=1.0)
    motion.roll[:, 0] = torch.tensor([170.0, -170.0])
    assert resample_motion(motion, 2.0).roll[1].item() == pytest.approx(180)


@pytest.mark.parametrize("n_frames", [1, 5, 7, 12])
def test_a_motion_is_cut_or_its_last_frame_held(n_frames):
    motion = sequence(7)
    found = fit_motion_length(motion, n_frames)
    assert len(found) == n_frames
    kept = min(n_frames, 7)
    assert_equal(found[:kept], motion[:kept])
    assert all(found.expression[frame].equal(motion.expression[-1]) for frame in range(7, n_frames))
