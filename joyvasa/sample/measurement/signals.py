"""Formulas on readings of the frames of a video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.mouth_sound import pearson
from joyvasa.motion.openings import find_closings

RATE = 25  # frames per second of all series
MAX_LAG = 2  # frames between mouth and sound
CLOSED_LIPS = 0.05  # eye distances; the face mesh reads up to 0.047 in photographs of closed lips
CLOSED_MARGIN = 0.025  # above the lowest opening of a face, whose closed lips may read as -0.01 to 0.04
CLOSED_LIDS = 0.4  # relative to the open eye; blinks in real videos reach 0.14 to 0.28, lowered eyes 0.5
MAX_BLINK_FRAMES = 12  # longer closures are shut eyes

Spans = Sequence[tuple[float, float]]  # start and end in seconds


def correlation_near_zero(opening: np.ndarray, level: np.ndarray) -> float:
    """Return the highest correlation at lags of up to `MAX_LAG` frames both ways.

    Args:
        opening: opening of the mouth, shape (n,); NaN where no face was found.
        level: level of the sound, shape (m,); the longer series is truncated.

    Returns:
        Pearson's correlation; NaN if one of the series does not vary.
    """
    n = min(len(opening), len(level))
    opening, level = np.asarray(opening[:n], np.float64), np.asarray(level[:n], np.float64)
    correlations = []
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        a, b = opening[max(lag, 0) : n + min(lag, 0)], level[max(-lag, 0) : n - max(lag, 0)]
        valid = np.isfinite(a) & np.isfinite(b)
        correlations.append(pearson(a[valid], b[valid]) if valid.sum() > 2 else np.nan)
    return float(np.nanmax(correlations)) if np.isfinite(correlations).any() else float("nan")


def closed_level(opening: np.ndarray) -> float:
    """Return the opening up to which the lips of this face count as closed, at most `CLOSED_LIPS`.

    `opening` is that of the mouth in a whole video with pauses, shape (n,).
    """
    valid = opening[np.isfinite(opening)]
    return min(CLOSED_LIPS, float(np.percentile(valid, 5)) + CLOSED_MARGIN) if len(valid) else CLOSED_LIPS


def closed_share(opening: np.ndarray, spans: Spans) -> float:
    """Return the share of speech sounds during which the lips meet, or up to `MAX_LAG` frames before or after."""
    slices = (_frames(start, end, len(opening), MAX_LAG) for start, end in spans)
    lowest = [_minimum(opening[frames]) for frames in slices if frames]
    return float(np.mean(np.array(lowest) <= closed_level(opening))) if lowest else float("nan")


def opened_share(opening: np.ndarray, spans: Spans) -> float:
    """Return the share of speech sounds during which the lips part."""
    limit = closed_level(opening)
    parted = [
        bool((opening[frames] > limit).any())
        for start, end in spans
        if (frames := _frames(start, end, len(opening), 0))
    ]
    return float(np.mean(parted)) if parted else float("nan")


def mean_during(opening: np.ndarray, spans: Spans) -> float:
    """Return the mean opening in the middle halves of the sounds; at their edges the mouth is still moving."""
    middles = [(start + (end - start) / 4, end - (end - start) / 4) for start, end in spans]
    parts = [opening[frames] for start, end in middles if (frames := _frames(start, end, len(opening), 0))]
    values = np.concatenate([*parts, np.zeros(0)])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def count_blinks(lids: np.ndarray, *, shut: float = CLOSED_LIDS) -> int:
    """Count how often eyes shut and open again.

    `lids` is the opening of the eye that is further open, relative to the open eye, (n,); below `shut` it is shut.
    """
    lengths, ends = find_closings(np.nan_to_num(lids, nan=1.0) < shut)
    return int(((lengths <= MAX_BLINK_FRAMES) & (ends < len(lids))).sum())


def flicker_ratio(differences: np.ndarray, still_differences: np.ndarray) -> float:
    """Return the mean difference of neighboring frames relative to that of an encoded still picture."""
    still = float(np.mean(still_differences))
    return float(np.mean(differences)) / still if still > 0 else float("nan")


def _frames(start_s: float, end_s: float, n_frames: int, slack: int) -> slice | None:
    """Return the frames of a time span, or None if there are none; frame i starts at i / RATE s."""
    first = max(0, int(np.floor(start_s * RATE + 1e-6)) - slack)
    end = min(n_frames, int(np.ceil(end_s * RATE - 1e-6)) + slack)
    return slice(first, end) if first < end else None


def _minimum(values: np.ndarray) -> float:
    valid = values[np.isfinite(values)]
    return float(valid.min()) if len(valid) else float("inf")
