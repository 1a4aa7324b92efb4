"""How a recording is cut into the windows that the motion model takes, and what of their motion is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from joyvasa.errors import ConfigError, InputError
from joyvasa.networks.motion_sizes import MotionSizes

Timing = Literal["aligned", "reference"]

# Silence that JoyVASA puts before and after a recording: two frames and one frame at 16 kHz and 25 Hz.
PADDING_SAMPLES = (1280, 640)


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """Windows of one recording. All sample counts are at the sample rate of the motion model.

    The windows follow each other without gap or overlap, begin with `padding_samples[0]` of
    silence, and silence fills the last one.
    """

    n_samples: int  # of the recording
    padding_samples: tuple[int, int]  # silence before and after the recording
    samples_per_window: int
    frames_per_window: int
    n_windows: int
    first_frame: int  # of the motion of all windows; what lies before is dropped
    n_frames: int  # that are kept


def plan_windows(
    n_samples: int,
    sizes: MotionSizes | None = None,
    *,
    padding_samples: tuple[int, int] = PADDING_SAMPLES,
    timing: Timing = "aligned",
) -> WindowPlan:
    """Plans the windows of a recording.

    Args:
        n_samples: length of the recording at the sample rate of the motion model.
        sizes: sizes of the motion model; None for those of the published weights.
        padding_samples: silence before and after the recording that the weights were made for.
        timing: `aligned` drops the frames of the silence in front and keeps ceil(duration * frames_per_second)
            frames, so motion and sound are in step and equally long. `reference` keeps what JoyVASA keeps: with
            its padding, motion comes two frames late and lasts up to three frames longer.

    Raises:
        InputError: `audio_empty`.
        ConfigError: `window_config`.
    """
    if n_samples < 1:
        raise InputError("audio_empty", "recording: 0 samples of sound; expected at least one: use a longer recording")
    sizes = sizes or MotionSizes()
    rate, window = sizes.sample_rate, sizes.frames_per_window
    if rate % sizes.frames_per_second:
        raise _bad(f"{sizes.frames_per_second} frames per second", f"a divisor of the sample rate {rate}")
    samples_per_frame = rate // sizes.frames_per_second
    lead, tail = padding_samples
    if timing == "aligned":
        if lead % samples_per_frame:
            raise _bad(
                f"padding of {lead} samples", f"a multiple of {samples_per_frame}, one frame, for aligned timing"
            )
        first_frame = lead // samples_per_frame
        n_frames = -(-n_samples // samples_per_frame)
        n_windows = -(-(first_frame + n_frames) // window)
    elif timing == "reference":
        first_frame = 0
        n_windows = max(1, -(-((n_samples + lead + tail) // samples_per_frame) // window))
        # Frames in which the recording or its padding still sounds; a frame cut off at the end counts not.
        n_frames = min(n_windows * window, (n_samples + lead + tail) // samples_per_frame)
    else:
        raise _bad(f"timing {timing!r}", "aligned or reference")
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
    """Cuts a recording into windows; holds one of them and one block.

    Args:
        blocks: the recording in order, each of shape (n,), any n, float32 mono in [-1, 1].
        plan: for exactly this recording.

    Yields:
        windows of shape (samples_per_window,), float32; the last one when the recording has ended.

    Raises:
        InputError: `audio_length_changed` if the recording has not `plan.n_samples` samples.
    """
    window, filled = np.zeros(plan.samples_per_window, np.float32), 0
    n_given = 0
    for block in _padded(blocks, plan):
        while len(block):
            if filled == len(window):
                if n_given == plan.n_windows - 1:
                    break  # less than a frame of sound, or padding, that the plan cuts off
                yield window
                window, filled = np.zeros_like(window), 0
                n_given += 1
            part = block[: len(window) - filled]
            window[filled : filled + len(part)] = part
            filled += len(part)
            block = block[len(part) :]
    for _ in range(n_given, plan.n_windows):
        yield window
        window = np.zeros_like(window)


def _padded(blocks: Iterable[np.ndarray], plan: WindowPlan) -> Iterator[np.ndarray]:
    """The silence in front, then the recording, checked for its length."""
    yield np.zeros(plan.padding_samples[0], np.float32)
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        if n_samples > plan.n_samples:
            break
        yield block
    if n_samples != plan.n_samples:
        found = f"more than {plan.n_samples}" if n_samples > plan.n_samples else str(n_samples)
        raise InputError(
            "audio_length_changed",
            f"recording: {found} samples were read; expected {plan.n_samples}, as counted before: "
            "the file changed in between, run it again",
        )


def _bad(found: str, expected: str) -> ConfigError:
    return ConfigError("window_config", f"windows: {found}; expected {expected}: correct the configuration")
