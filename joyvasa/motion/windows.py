"""Windows of a recording for the motion model, and the frames of their motion that are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from joyvasa.errors import ConfigError, InputError
from joyvasa.networks.motion_sizes import MotionSizes

Timing = Literal["aligned", "reference"]

# JoyVASA's silence before and after a recording: two frames and one frame at 16 kHz and 25 Hz.
PADDING_SAMPLES = (1280, 640)


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """Windows of one recording. All sample counts are at the sample rate of the motion model.

    The windows are contiguous. The first one starts with `padding_samples[0]` of silence, and the last one is padded
    with silence.
    """

    n_samples: int  # length of the recording
    padding_samples: tuple[int, int]  # silence before and after the recording
    samples_per_window: int
    frames_per_window: int
    n_windows: int
    first_frame: int  # first used frame of the motion of all windows
    n_frames: int  # number of used frames


def plan_windows(
    n_samples: int,
    sizes: MotionSizes | None = None,
    *,
    padding_samples: tuple[int, int] = PADDING_SAMPLES,
    timing: Timing = "aligned",
) -> WindowPlan:
    """Plan the windows of a recording.

    Args:
        n_samples: length of the recording at the sample rate of the motion model.
        sizes: sizes of the motion model; None for those of the published weights.
        padding_samples: silence before and after the recording that the weights were trained with.
        timing: `aligned` drops the frames of the leading silence and uses ceil(duration * frames_per_second) frames, so
            motion and sound are in sync and have the same length. `reference` uses the same frames as JoyVASA: with its
            padding, the motion is two frames late and up to three frames longer.

    Raises:
        InputError: `audio_empty`.
        ConfigError: `window_config`.
    """
    if n_samples < 1:
        raise InputError("audio_empty", "recording: 0 samples of sound; expected at least one: use a longer recording")
    sizes = sizes or MotionSizes()
    rate, window = sizes.sample_rate, sizes.frames_per_window
    if rate % sizes.frames_per_second:
        raise _config_error(f"{sizes.frames_per_second} frames per second", f"a divisor of the sample rate {rate}")

    samples_per_frame = rate // sizes.frames_per_second
    lead, tail = padding_samples
    if timing == "aligned":
        if lead % samples_per_frame:
            raise _config_error(
                f"padding of {lead} samples", f"a multiple of {samples_per_frame}, one frame, for aligned timing"
            )
        first_frame = lead // samples_per_frame
        n_frames = -(-n_samples // samples_per_frame)
        n_windows = -(-(first_frame + n_frames) // window)
    elif timing == "reference":
        first_frame = 0
        n_windows = max(1, -(-((n_samples + lead + tail) // samples_per_frame) // window))
        # Complete frames of the recording and its padding; a partial last frame is not counted.
        n_frames = min(n_windows * window, (n_samples + lead + tail) // samples_per_frame)
    else:
        raise _config_error(f"timing {timing!r}", "aligned or reference")

    return WindowPlan(
        n_samples=n_samples,
        padding_samples=padding_samples,
        samples_per_window=sizes.samples_per_window,
        frames_per_window=window,
        n_windows=n_windows,
        first_frame=first_frame,
        n_frames=n_frames,
    )


def iterate_windows(blocks: Iterable[np.ndarray], plan: WindowPlan) -> Iterator[np.ndarray]:
    """Split a recording into windows; holds one window and one block.

    Args:
        blocks: consecutive blocks of the recording, shape (n,) with any n, float32 mono in [-1, 1].
        plan: plan of this recording.

    Yields:
        Windows of shape (samples_per_window,), float32; the last one after the end of the recording.

    Raises:
        InputError: `audio_length_changed` if the recording does not have `plan.n_samples` samples.
    """
    window, filled = np.zeros(plan.samples_per_window, np.float32), 0
    n_yielded = 0
    for block in _padded(blocks, plan):
        while len(block):
            if filled == len(window):
                if n_yielded == plan.n_windows - 1:
                    break  # less than a frame of sound or padding beyond the plan
                yield window
                window, filled = np.zeros_like(window), 0
                n_yielded += 1
            part = block[: len(window) - filled]
            window[filled : filled + len(part)] = part
            filled += len(part)
            block = block[len(part) :]

    for _ in range(n_yielded, plan.n_windows):
        yield window
        window = np.zeros_like(window)


def _padded(blocks: Iterable[np.ndarray], plan: WindowPlan) -> Iterator[np.ndarray]:
    """Yield the leading silence, then the recording; check its length."""
    yield np.zeros(plan.padding_samples[0], np.float32)
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        if n_samples > plan.n_samples:
            break
        yield block
    if n_samples != plan.n_samples:
        count = f"more than {plan.n_samples}" if n_samples > plan.n_samples else str(n_samples)
        raise InputError(
            "audio_length_changed",
            f"recording: {count} samples were read; expected {plan.n_samples}, as counted before: "
            "the file changed in between, run it again",
        )


def _config_error(found: str, expected: str) -> ConfigError:
    return ConfigError("window_config", f"windows: {found}; expected {expected}: correct the configuration")
