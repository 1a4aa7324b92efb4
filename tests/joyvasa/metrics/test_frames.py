"""Metrics of the picture on synthetic frames."""

import cv2
import numpy as np
import pytest

from joyvasa.metrics import build_metric
from joyvasa.metrics.first_frame import MAX_PSNR, psnr, ssim
from tests.joyvasa.metrics.clips import make_clip, measure_values, moving_noise

FRAMES = moving_noise(75)


@pytest.mark.parametrize("name", ["sharpness", "drift", "flicker", "freeze", "first_frame"])
@pytest.mark.parametrize("batch", [1, 7])
def test_numbers_do_not_depend_on_how_frames_are_batched(name, batch):
    clip = make_clip(FRAMES, reference_frame=FRAMES[0])
    whole = measure_values(build_metric(name), clip, FRAMES)
    assert measure_values(build_metric(name), clip, FRAMES, batch=batch) == pytest.approx(whole, rel=1e-12)
    assert all(isinstance(value, float) for value in whole.values())


@pytest.mark.parametrize("name", ["sharpness", "drift"])
def test_face_metrics_need_a_face_box(name):
    assert set(measure_values(build_metric(name), make_clip(FRAMES, face_box=None), FRAMES).values()) == {
        "face_unknown"
    }
    outside = make_clip(FRAMES, face_box=(-50, 0, 10, 96))
    assert set(measure_values(build_metric(name), outside, FRAMES).values()) == {"face_too_small"}


def test_blur_lowers_sharpness_and_a_blurred_second_the_worst_one():
    sharp = measure_values(build_metric("sharpness"), make_clip(FRAMES), FRAMES)
    blurred = FRAMES.copy()
    blurred[25:50] = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in FRAMES[25:50]]
    values = measure_values(build_metric("sharpness"), make_clip(blurred), blurred)
    assert values["sharpness_worst"] < 0.3 * sharp["sharpness_worst"]
    assert 0.5 * sharp["sharpness"] < values["sharpness"] < 0.8 * sharp["sharpness"]


def test_sharpness_is_measured_in_the_face_box():
    frames = FRAMES.copy()
    frames[:, :, :64] = cv2.GaussianBlur(frames[0, :, :64], (0, 0), 5)
    right = measure_values(build_metric("sharpness"), make_clip(frames, face_box=(64, 0, 300, 96)), frames)
    left = measure_values(build_metric("sharpness"), make_clip(frames, face_box=(-9, -9, 64, 96)), frames)
    assert left["sharpness"] < 0.2 * right["sharpness"]


def test_drift_distinguishes_lightness_and_color():
    gray = np.full((75, 32, 32, 3), 120, np.uint8)
    lighter, redder = gray.copy(), gray.copy()
    lighter[50:] = 140
    redder[50:] = (150, 108, 100)  # about as light as before
    values = measure_values(build_metric("drift"), make_clip(lighter), lighter)
    assert values["brightness_drift"] == pytest.approx(7.8, abs=0.3)
    assert values["color_drift"] < 0.1
    values = measure_values(build_metric("drift"), make_clip(redder), redder)
    assert values["color_drift"] > 15
    assert values["brightness_drift"] < 1.5
    assert measure_values(build_metric("drift"), make_clip(gray), gray) == {"brightness_drift": 0, "color_drift": 0}


def test_a_temporary_drift_counts():
    frames = np.full((100, 32, 32, 3), 120, np.uint8)
    frames[40:60] = 90
    assert measure_values(build_metric("drift"), make_clip(frames), frames)["brightness_drift"] > 4


@pytest.mark.parametrize("n_frames", [1, 25, 30])
def test_less_than_two_seconds_have_no_drift(n_frames):
    frames = FRAMES[:n_frames]
    assert set(measure_values(build_metric("drift"), make_clip(frames), frames).values()) == {"too_short"}


def test_frozen_and_repeated_frames_are_counted():
    assert measure_values(build_metric("freeze"), make_clip(FRAMES), FRAMES) == dict.fromkeys(
        ("duplicate_share", "frozen_share", "longest_freeze_s"), 0
    )
    frozen = FRAMES.copy()
    frozen[20:30] = frozen[20]
    values = measure_values(build_metric("freeze"), make_clip(frozen), frozen)
    assert values == pytest.approx({"duplicate_share": 9 / 74, "frozen_share": 10 / 75, "longest_freeze_s": 0.4})
    doubled = np.repeat(FRAMES[:30], 2, axis=0)  # half the rate: every second frame repeats, no period is frozen
    values = measure_values(build_metric("freeze"), make_clip(doubled), doubled)
    assert values == pytest.approx({"duplicate_share": 30 / 59, "frozen_share": 0, "longest_freeze_s": 0})


def test_moving_lips_are_not_a_freeze():
    frames = np.repeat(FRAMES[:1], 50, axis=0)
    frames[:, 60:68, 56:72] = [[[[value]]] for value in np.resize([40, 60, 90, 60], 50)]
    assert measure_values(build_metric("freeze"), make_clip(frames), frames)["frozen_share"] == 0


def test_a_freeze_at_the_end_counts():
    frames = np.concatenate([FRAMES[:20], np.repeat(FRAMES[20:21], 30, axis=0)])
    assert measure_values(build_metric("freeze"), make_clip(frames), frames)["longest_freeze_s"] == pytest.approx(
        30 / 25
    )


def test_equal_pictures_have_ssim_1_and_the_highest_psnr():
    assert ssim(FRAMES[0], FRAMES[0]) == pytest.approx(1)
    assert psnr(FRAMES[0], FRAMES[0]) == MAX_PSNR


def test_only_the_first_frame_is_compared_and_the_face_separately():
    reference = FRAMES[0].copy()
    reference[:, :32] = 0
    values = measure_values(
        build_metric("first_frame"), make_clip(FRAMES, reference_frame=reference, face_box=(48, 0, 128, 96)), FRAMES
    )
    assert values["first_face_ssim"] == pytest.approx(1)
    assert values["first_frame_ssim"] < 0.9
    other = measure_values(build_metric("first_frame"), make_clip(FRAMES, reference_frame=FRAMES[9]), FRAMES)
    assert other["first_frame_ssim"] < 0.5


def test_a_reference_frame_of_the_same_size_is_required():
    assert set(measure_values(build_metric("first_frame"), make_clip(FRAMES), FRAMES).values()) == {"no_still"}
    smaller = make_clip(FRAMES, reference_frame=FRAMES[0, :50])
    assert set(measure_values(build_metric("first_frame"), smaller, FRAMES).values()) == {"size_differs"}


def test_without_a_face_the_whole_first_frame_is_compared():
    values = measure_values(
        build_metric("first_frame"), make_clip(FRAMES, reference_frame=FRAMES[0], face_box=None), FRAMES
    )
    assert values["first_frame_ssim"] == pytest.approx(1)
    assert values["first_face_ssim"] == "face_unknown"
