import numpy as np
import pytest
import torch

from joyvasa.motion.timing import fit_motion_length, resample_motion
from tests.motions import assert_equal_motions, random_motion


def ramp(n_frames, rate):
    motion = random_motion(n_frames, rate=rate)
    motion.pitch[:, 0] = torch.arange(n_frames) / rate
    return motion


def test_the_same_rate_changes_nothing():
    motion = random_motion()
    assert resample_motion(motion, 25.0) is motion


@pytest.mark.parametrize(("rate", "n_frames"), [(20.0, 93), (30.0, 148), (24.0, 1), (60.0, 601)])
def test_speed_and_duration_are_preserved(rate, n_frames):
    resampled = resample_motion(ramp(n_frames, rate), 25.0)
    assert resampled.frames_per_second == 25
    assert len(resampled) / 25 == pytest.approx(n_frames / rate, abs=1 / 50)
    expected = np.minimum(np.arange(len(resampled)) / 25, (n_frames - 1) / rate)
    np.testing.assert_allclose(resampled.pitch[:, 0], expected, atol=1e-5)


def test_frames_at_the_same_time_are_equal():
    motion = random_motion(20, rate=50.0)
    resampled = resample_motion(motion, 25.0)
    assert_equal_motions(resampled, resample_motion(motion, 25.0))
    torch.testing.assert_close(resampled.expression, motion.expression[::2])


def test_angles_are_interpolated_along_the_shorter_arc():
    motion = random_motion(2, rate=1.0)
    motion.roll[:, 0] = torch.tensor([170.0, -170.0])
    assert resample_motion(motion, 2.0).roll[1].item() == pytest.approx(180)


@pytest.mark.parametrize("n_frames", [1, 5, 7, 12])
def test_a_motion_is_truncated_or_its_last_frame_repeated(n_frames):
    motion = random_motion(7)
    fitted = fit_motion_length(motion, n_frames)
    assert len(fitted) == n_frames
    n_common = min(n_frames, 7)
    assert_equal_motions(fitted[:n_common], motion[:n_common])
    assert all(fitted.expression[frame].equal(motion.expression[-1]) for frame in range(7, n_frames))
