"""Blinks of a motion: removed, added, and made deeper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from joyvasa.motion.layouts import KeypointLayout
from joyvasa.motion.openings import find_closings
from joyvasa.motion.sequence import MotionSequence

CLOSED = 0.5  # share of the opening at rest below which an eye counts as closed, as in the metric `blink`
DIP = 0.85  # share of the opening at rest below which the lids have begun to close
BLINK_S = (0.08, 0.4)  # time for which the eyes are closed in a blink, as in the metric
# Duration of a blink that is added, as in the training of the built-in model; the eyes stay shut for about a frame.
CLOSING_S, OPENING_S, OVERSHOOT = 0.09, 0.16, 1.15
PLACE = (0.35, 0.65)  # position of an added blink in the longest pause, drawn from this range
MIN_RANGE = 0.05  # smallest range of the opening, height over width, that can blink
# Part of the motion of lids beyond their meeting that is visible, in renderings of the compact layout.
PAST_CLOSED = 1 / 8

Series = NDArray[np.float64]


def change_blinks(
    motion: MotionSequence, layout: KeypointLayout, *, rate: float | None, amount: float, seed: int
) -> MotionSequence:
    """Change the number and the depth of the blinks of a motion.

    The number of blinks is the rate times the duration, rounded up or down at random so that the mean over many short
    clips is the rate. Of too many blinks those next to others are removed first; missing ones are added in the longest
    pauses.

    Args:
        motion: motion with eyes that are open most of the time.
        layout: layout of its keypoints.
        rate: blinks per minute; None leaves them.
        amount: depth of the blinks; 1 leaves them.
        seed: seed of the number and the places of blinks.

    Returns:
        The motion; unchanged if the eyes are closed most of the time.
    """
    before = layout.eye_openings(motion.expression).mean(1).numpy()
    rest = float(np.median(before))
    if rest - layout.closed_eye < MIN_RANGE:
        return motion

    after = before
    if rate is not None:
        draw = np.random.default_rng([seed, 0])
        expected = rate * len(motion) / motion.frames_per_second / 60
        after = _set_count(before, rest, layout.closed_eye, int(expected + draw.random()), motion, draw)
    after = _scale_depth(after, rest, amount)
    change = torch.from_numpy(after - before)[:, None]
    return replace(motion, expression=layout.shift_lids(motion.expression, change))


def _set_count(
    opening: Series, rest: float, closed: float, count: int, motion: MotionSequence, draw: np.random.Generator
) -> Series:
    """Return openings with a number of blinks."""
    rate = motion.frames_per_second
    opening = opening.copy()
    lengths, ends = find_closings(opening < DIP * rest)
    kept: list[tuple[int, int]] = []
    for start, end in zip(ends - lengths, ends, strict=True):
        shut_s = (opening[start:end] < CLOSED * rest).sum() / rate
        if BLINK_S[0] - 0.5 / rate <= shut_s <= BLINK_S[1] + 0.5 / rate:
            kept.append((int(start), int(end)))
        else:
            _open(opening, int(start), int(end), rest)

    while len(kept) > count:
        middles = np.array([0.0, *[(start + end) / 2 for start, end in kept], float(len(opening))])
        start, end = kept.pop(int(np.argmin(middles[2:] - middles[:-2])))
        _open(opening, start, end, rest)

    times = [(start + end) / 2 / rate for start, end in kept]
    for _ in range(count - len(kept)):
        pauses = np.array([0.0, *sorted(times), len(opening) / rate])
        longest = int(np.argmax(np.diff(pauses)))
        at_s = pauses[longest] + np.diff(pauses)[longest] * draw.uniform(*PLACE)
        times.append(float(at_s))
        closure = _blink((np.arange(len(opening)) + 0.5) / rate - at_s)
        opening = opening + closure * (closed - opening)
    return opening


def _scale_depth(opening: Series, rest: float, amount: float) -> Series:
    """Return openings whose closings are scaled as they look.

    Lids that are driven past their meeting, to openings below 0, look almost like lids that meet. Scaled in proportion,
    half a blink of the compact layout would close the eyes by two thirds.
    """
    seen = np.where(opening < 0, PAST_CLOSED * opening, opening)
    scaled = rest + amount * (seen - rest)
    scaled = np.where(scaled < 0, scaled / PAST_CLOSED, scaled)
    scaled = np.maximum(scaled, rest + amount * (opening - rest))  # amounts above 1 exceed no proportional scaling
    return np.where(opening < rest, scaled, opening)


def _open(opening: Series, start: int, end: int, rest: float) -> None:
    """Replace the openings of some frames by a line between those around them, in place."""
    before = opening[start - 1] if start else max(opening[end], rest) if end < len(opening) else rest
    after = opening[end] if end < len(opening) else before
    opening[start:end] = np.linspace(before, after, end - start + 2)[1:-1]


def _blink(offset_s: Series) -> Series:
    """Return the closure of the eyes, 0 to 1, at times relative to the middle of a blink."""
    closing, opening = 1 + offset_s / CLOSING_S, 1 - offset_s / OPENING_S
    return (OVERSHOOT * np.where(offset_s < 0, closing, opening)).clip(0, 1)
