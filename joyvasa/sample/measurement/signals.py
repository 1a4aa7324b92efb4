"""Formulas on what was read from videos, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.blink import find_closings
from joyvasa.metrics.mouth_sound import pearson

RATE = 25  # frames per second of all series
MAX_LAG = 2  # frames that mouth and sound may be apart
CLOSED_LIPS = 0.05  # distances between the eyes; the face mesh reads up to 0.047 in photographs of closed lips
MEETING = 0.025  # above the least that a face shows: its own closed lips may read as 0.04 or as -0.01
CLOSED_LIDS = 0.4  # of the open eye; blinks in real videos reach 0.14 to 0.28, lowered eyes 0.5
BLINK_FRAMES = 12  # longest; longer is a closed eye

Spans = Sequence[tuple[float, float]]  # seconds, from and to


def correlation_near_zero(opening: np.ndarray, level: np.ndarray, max_lag: int = MAX_LAG) -> float:
    """The highest of Pearson's correlations at lags of up to `max_lag` frames both ways.

    Args:
        opening: of the mouth, shape (n,); not a number where no face was seen.
        level: of the sound, shape (m,); what is longer is cut.
        max_lag: frames.

    Returns:
        not a number where one of the two does not vary.
    """
    n = min(len(opening), len(level))
    opening, level = np.asarray(opening[:n], np.float64), np.asarray(level[:n], np.float64)
    found = []
    for lag in range(-max_lag, max_lag + 1):
        a, b = opening[max(lag, 0) : n + min(lag, 0)], level[max(-lag, 0) : n - max(lag, 0)]
        seen = np.isfinite(a) & np.isfinite(b)
        found.append(pearson(a[seen], b[seen]) if seen.sum() > 2 else np.nan)
    return float(np.nanmax(found)) if np.isfinite(found).any() else float("nan")


def closed_level(opening: np.ndarray) -> float:
    """The opening up to which the lips of this face meet; never more than those of any face.

    Args:
        opening: over a whole video with pauses in it, shape (n,).
    """
    seen = opening[np.isfinite(opening)]
    return min(CLOSED_LIPS, float(np.percentile(seen, 5)) + MEETING) if len(seen) else CLOSED_LIPS


def closed_share(opening: np.ndarray, spans: Spans, *, slack: int = MAX_LAG) -> float:
    """Share of sounds during which the lips meet.

    Args:
        opening: shape (n,).
        spans: of the sounds.
        slack: frames before and after a sound that count, too.
    """
    reached = [_least(opening[frames]) for start, end in spans if (frames := _frames(start, end, len(opening), slack))]
    return float(np.mean(np.array(reached) <= closed_level(opening))) if reached else float("nan")


def opened_share(opening: np.ndarray, spans: Spans) -> float:
    """Share of sounds during which the lips part.

    Args:
        opening: shape (n,).
        spans: of the sounds.
    """
    limit = closed_level(opening)
    parted = [
        bool((opening[frames] > limit).any())
        for start, end in spans
        if (frames := _frames(start, end, len(opening), 0))
    ]
    return float(np.mean(parted)) if parted else float("nan")


def mean_during(opening: np.ndarray, spans: Spans) -> float:
    """Mean over the middle halves of the sounds: the mouth needs time to get there."""
    middles = [(start + (end - start) / 4, end - (end - start) / 4) for start, end in spans]
    parts = [opening[frames] for start, end in middles if (frames := _frames(start, end, len(opening), 0))]
    values = np.concatenate([*parts, np.zeros(0)])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def count_blinks(lids: np.ndarray, *, shut: float = CLOSED_LIDS) -> int:
    """How often eyes shut and open again.

    Args:
        lids: of the eye that is further open, as a share of the open eye, shape (n,).
        shut: below this share an eye counts as shut.
    """
    lengths, ends = find_closings(np.nan_to_num(lids, nan=1.0) < shut)
    return int(((lengths <= BLINK_FRAMES) & (ends < len(lids))).sum())


def flicker_ratio(differences: np.ndarray, still_differences: np.ndarray) -> float:
    """How much neighbouring frames differ, against those of a still picture that was encoded.

    Args:
        differences: mean absolute ones of each pair of frames, shape (n,).
        still_differences: likewise, of the still picture.
    """
    still = float(np.mean(still_differences))
    return float(np.mean(differences)) / still if still > 0 else float("nan")


def _frames(start_s: float, end_s: float, n_frames: int, slack: int) -> slice | None:
    """Frames that show a time, or None if there is none; frame i is what is seen from i / RATE s on."""
    first = max(0, int(np.floor(start_s * RATE + 1e-6)) - slack)
    end = min(n_frames, int(np.ceil(end_s * RATE - 1e-6)) + slack)
    return slice(first, end) if first < end else None


def _least(values: np.ndarray) -> float:
    seen = values[np.isfinite(values)]
    return float(seen.min()) if len(seen) else float("inf")
