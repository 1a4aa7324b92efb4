"""Metrics of the motion on synthetic and load_real_motion motions."""

import dataclasses

import numpy as np
import pytest
import torch

from joyvasa.metrics import build_metric
from joyvasa.metrics.blink import count_motion_blinks
from joyvasa.metrics.support.motion_readout import resample_series, select_opening_fit
from joyvasa.motion.openings import COMPACT, LOWER_LIP, UPPER_LIDS, estimate_eye_opening, estimate_mouth_opening
from joyvasa.motion.sequence import MotionSequence
from tests.joyvasa.metrics.clips import make_clip, make_motion, make_speaking_motion, measure_values, moving_noise
from tests.media import MEDIA

NO_FRAMES = moving_noise(1)
WITH_RATIOS = ("d1", "d2", "d5", "d7", "d8")


def measure_motion(name: str, motion: MotionSequence | None) -> dict:
    return measure_values(build_metric(name), make_clip(NO_FRAMES, motion=motion), NO_FRAMES)


def load_real_motion(name: str) -> tuple[MotionSequence, dict]:
    with np.load(MEDIA / f"motion/{name}.npz") as arrays:
        content = dict(arrays)
    return MotionSequence.from_arrays(content), content


def test_openings_correlate_with_those_of_the_picture():
    pairs = [load_real_motion(name) for name in WITH_RATIOS]
    mouth = np.concatenate([estimate_mouth_opening(motion) for motion, _ in pairs])
    eyes = np.concatenate([estimate_eye_opening(motion) for motion, _ in pairs])
    lips = np.concatenate([arrays["lip_ratio"] for _, arrays in pairs])
    lids = np.concatenate([arrays["eye_ratio"].mean(axis=1) for _, arrays in pairs])
    assert np.corrcoef(mouth, lips)[0, 1] > 0.90
    assert np.corrcoef(eyes, lids)[0, 1] > 0.96
    np.testing.assert_allclose(np.polyfit(mouth, lips, 1), [1, 0], atol=0.01)  # the constants result from this fit
    np.testing.assert_allclose(np.polyfit(eyes, lids, 1), [1, 0], atol=0.01)


@pytest.mark.parametrize("name", WITH_RATIOS)
def test_blinks_equal_those_of_the_picture(name):
    motion, arrays = load_real_motion(name)
    expected = count_motion_blinks(arrays["eye_ratio"].mean(axis=1), motion.frames_per_second)
    assert count_motion_blinks(estimate_eye_opening(motion), motion.frames_per_second) == pytest.approx(expected, abs=1)


def test_short_closings_are_blinks_and_long_ones_are_not():
    opening = np.full(100, 0.3)
    opening[10:14] = 0.1
    opening[30:40] = 0.1  # 0.4 s
    opening[50:61] = 0.1  # 0.44 s
    opening[70] = 0.1  # one frame
    assert count_motion_blinks(opening, 25.0) == 2
    # Half as long each: the longest is now a blink, the shortest still is not.
    assert count_motion_blinks(opening, 50.0) == 3
    assert count_motion_blinks(np.full(100, 0.3), 25.0) == 0


def test_range_and_speed_of_a_uniform_rotation():
    yaw = np.linspace(0, 10, 101)[:, None]
    values = measure_motion("head", make_motion(101, yaw=yaw))
    assert values["head_range"] == pytest.approx(10 / 3, rel=1e-4)
    assert values["head_speed"] == pytest.approx(2.5, rel=1e-3)
    assert values["head_jerk"] < 1


def test_a_jump_of_the_head_raises_its_jerk():
    yaw = 10 * np.sin(np.arange(100) / 8)[:, None]
    smooth = measure_motion("head", make_motion(yaw=yaw))
    yaw[50:] += 3
    assert measure_motion("head", make_motion(yaw=yaw))["head_jerk"] > 20 * smooth["head_jerk"]


def test_a_full_turn_is_not_a_movement():
    roll = np.resize([179.9, -179.9], 100)[:, None]
    assert measure_motion("head", make_motion(roll=roll))["head_range"] < 0.1


def test_numbers_in_seconds_do_not_depend_on_the_rate():
    angle = 20 * np.sin(np.linspace(0, 20, 401))
    slow = measure_motion("head", make_motion(201, yaw=angle[::2, None], rate=25.0))
    fast = measure_motion("head", make_motion(401, yaw=angle[:, None], rate=50.0))
    assert slow == pytest.approx(fast, rel=0.02)


def test_the_compact_networks_have_different_units():
    """Test a mouth whose height is half its width, and a blink."""
    motion = make_speaking_motion(np.zeros(100))
    expression = torch.zeros_like(motion.expression)
    expression[:, LOWER_LIP, 1] = 0.69 / 2
    expression[50:54, list(UPPER_LIDS), 1] = 0.22
    motion = dataclasses.replace(motion, expression=expression)
    assert estimate_mouth_opening(motion, COMPACT) == pytest.approx(np.full(100, 0.5), abs=1e-6)
    assert estimate_eye_opening(motion, COMPACT)[[0, 51]] == pytest.approx([0.22 / 0.457, 0.0], abs=1e-6)
    assert count_motion_blinks(estimate_eye_opening(motion, COMPACT), 25.0) == 1
    assert select_opening_fit(make_clip(NO_FRAMES, motion=motion, absolute_expression=True)) is COMPACT
    assert select_opening_fit(make_clip(NO_FRAMES, motion=motion)) is not COMPACT


def test_mouth_opening_and_its_range():
    opening = np.resize([0.0, 0.4], 100)
    assert measure_motion("mouth", make_speaking_motion(opening)) == pytest.approx(
        {"mouth_opening": 0.2, "mouth_range": 0.4}, rel=1e-5
    )


@pytest.mark.parametrize("name", ["mouth", "blink", "mouth_sound"])
def test_other_numbers_of_keypoints_have_no_openings(name):
    assert set(measure_motion(name, make_motion(n_keypoints=22)).values()) == {"keypoints_unknown"}


@pytest.mark.parametrize("name", ["head", "mouth", "blink", "mouth_sound", "beat"])
def test_a_missing_motion_is_reported(name):
    assert set(measure_motion(name, None).values()) == {"no_motion"}


@pytest.mark.parametrize(
    ("name", "part"),
    [("head", "head"), ("beat", "head"), ("mouth", "lips"), ("mouth_sound", "lips"), ("blink", "eyes")],
)
def test_motion_that_the_video_does_not_show_has_no_numbers(name, part):
    others = tuple({"head", "lips", "eyes"} - {part})
    clip = make_clip(NO_FRAMES, motion=make_motion(), driven_parts=others)
    assert set(measure_values(build_metric(name), clip, NO_FRAMES).values()) == {"not_driven"}


@pytest.mark.parametrize("name", ["head", "mouth", "blink", "mouth_sound", "beat"])
def test_short_motions_have_no_numbers(name):
    assert set(measure_motion(name, make_motion(3)).values()) == {"too_short"}


def test_resampling_preserves_time():
    series = np.sin(np.arange(300) / 30 * 2)
    changed = resample_series(series, 30.0, 25)
    assert len(changed) == 250
    np.testing.assert_allclose(changed[5:-5], np.sin(((np.arange(250) + 0.5) / 25 - 0.5 / 30) * 2)[5:-5], atol=1e-3)
