import numpy as np
import pytest

from joyvasa.errors import ConfigError, InputError
from joyvasa.motion.windows import iterate_windows, plan_windows
from joyvasa.networks.motion_sizes import MotionSizes

SIZES = MotionSizes(frames_per_window=4, frames_per_second=25, sample_rate=100)  # 4 samples per frame
SMALL = {"sizes": SIZES, "padding_samples": (8, 4)}


def ramp(n):
    return np.arange(1, n + 1, dtype=np.float32)


def expected_windows(waveform, plan):
    padded = np.zeros(plan.n_windows * plan.samples_per_window, np.float32)
    lead = plan.padding_samples[0]
    padded[lead : lead + len(waveform)] = waveform[: len(padded) - lead]
    return padded.reshape(plan.n_windows, -1)


@pytest.mark.parametrize("n_samples", [1, 639, 640, 641, 16_000, 62_080, 62_400, 62_720, 64_000, 126_719, 160_001])
def test_aligned_motion_is_as_long_as_the_sound_to_within_a_frame(n_samples):
    plan = plan_windows(n_samples)
    assert 0 <= plan.n_frames / 25 - n_samples / 16_000 < 1 / 25
    assert plan.first_frame * 640 == plan.padding_samples[0]
    assert plan.first_frame + plan.n_frames <= plan.n_windows * plan.frames_per_window


@pytest.mark.parametrize("padding", [(8, 4), (0, 0), (4, 12)])
def test_aligned_motion_lies_within_the_windows(padding):
    for n_samples in range(1, 48):
        plan = plan_windows(n_samples, **(SMALL | {"padding_samples": padding}))
        assert plan.n_frames == -(-n_samples // 4)
        assert plan.first_frame + plan.n_frames <= plan.n_windows * 4
        assert plan.first_frame + plan.n_frames > (plan.n_windows - 1) * 4  # no superfluous window


def test_reference_timing_is_late_by_two_frames_and_longer():
    reference, aligned = plan_windows(65_600, timing="reference"), plan_windows(65_600)
    assert (reference.first_frame, reference.n_frames) == (0, 105)
    assert (aligned.first_frame, aligned.n_frames) == (2, 103)


@pytest.mark.parametrize("timing", ["aligned", "reference"])
@pytest.mark.parametrize("n_samples", [1, 4, 7, 8, 9, 20, 23, 24, 25, 100])
@pytest.mark.parametrize("block", [1, 3, 16, 1000])
def test_windows_do_not_depend_on_the_blocks(timing, n_samples, block):
    plan = plan_windows(n_samples, **SMALL, timing=timing)
    waveform = ramp(n_samples)
    blocks = (waveform[i : i + block] for i in range(0, n_samples, block))
    windows = np.stack(list(iterate_windows(blocks, plan)))
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(windows, expected_windows(waveform, plan))


def test_yielded_windows_are_not_modified():
    plan = plan_windows(40, **SMALL)
    windows = list(iterate_windows([ramp(40)], plan))
    assert len({id(window) for window in windows}) == plan.n_windows
    assert windows[0][8] == 1


def test_only_the_blocks_of_a_window_are_read():
    indices = []

    def blocks():
        for i in range(100):
            indices.append(i)
            yield np.zeros(10, np.float32)

    plan = plan_windows(1000, **SMALL)
    windows = iterate_windows(blocks(), plan)
    next(windows)  # 16 samples, 8 of them silence
    assert len(indices) <= 2


@pytest.mark.parametrize("n_samples", [99, 101, 0])
def test_a_recording_of_another_length_is_rejected(n_samples):
    with pytest.raises(InputError, match="audio_length_changed"):
        list(iterate_windows([ramp(n_samples)], plan_windows(100, **SMALL)))


def test_invalid_plans_are_rejected():
    with pytest.raises(InputError, match="audio_empty"):
        plan_windows(0)
    with pytest.raises(ConfigError, match="divisor"):
        plan_windows(1000, MotionSizes(frames_per_second=30))
    with pytest.raises(ConfigError, match="multiple of 640"):
        plan_windows(1000, padding_samples=(100, 0))
    with pytest.raises(ConfigError, match="aligned or reference"):
        plan_windows(1000, timing="late")
