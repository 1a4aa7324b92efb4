"""Frames that show nothing new: single repeated ones, and stretches in which the picture stands still."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, Values

GRID = 64  # cells a side; a cell averages away the noise of compression, and the lips still fill several
SAME = 1.5  # grey levels of 255; where no cell changes by more, a frame repeats the one before
STILL = 4.0  # grey levels; where no cell gets further from the first frame of a stretch, it stands still
FROZEN_S = 0.2  # seconds that a stretch lasts at least; people who speak do not hold as still for as long


class FreezeMetric(Metric):
    """Repeated and frozen frames, from a grid of 64 x 64 mean grey levels of the whole frame."""

    name: ClassVar[str] = "freeze"
    columns: ClassVar[tuple[MetricColumn, ...]] = (
        MetricColumn(
            "duplicate_share", "Repeated frames", "part of the frames that repeat the one before", "", "lower"
        ),
        MetricColumn(
            "frozen_share",
            "Frozen",
            "part of the frames in stretches of 0.2 s and more in which nothing moves",
            "",
            "lower",
        ),
        MetricColumn("longest_freeze_s", "Longest freeze", "length of the longest of these stretches", "s", "lower"),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        return _Freeze(clip.frames_per_second)


class _Freeze(Measurement):
    def __init__(self, frames_per_second: float) -> None:
        self._frames_per_second = frames_per_second
        self._least = max(2, round(FROZEN_S * frames_per_second))  # frames of a stretch that counts
        self._last: np.ndarray | None = None
        self._anchor = np.zeros(0)
        self._n_frames = self._n_duplicates = self._n_frozen = self._longest = self._stretch = 0

    def update(self, frames: np.ndarray) -> None:
        for frame in frames:
            self._add(compute_cell_means(frame))

    def finish(self) -> Values:
        self._end_stretch()
        if self._n_frames < 2:
            return FreezeMetric().all_missing("too_short", "a single frame; expected at least two")
        return {
            "duplicate_share": self._n_duplicates / (self._n_frames - 1),
            "frozen_share": self._n_frozen / self._n_frames,
            "longest_freeze_s": self._longest / self._frames_per_second,
        }

    def _add(self, cells: np.ndarray) -> None:
        self._n_frames += 1
        if self._last is not None:
            self._n_duplicates += int(np.abs(cells - self._last).max() < SAME)
        if self._stretch and np.abs(cells - self._anchor).max() < STILL:
            self._stretch += 1
        else:
            self._end_stretch()
            self._anchor, self._stretch = cells, 1
        self._last = cells

    def _end_stretch(self) -> None:
        if self._stretch >= self._least:
            self._n_frozen += self._stretch
            self._longest = max(self._longest, self._stretch)


def compute_cell_means(frame: np.ndarray) -> np.ndarray:
    """Mean grey levels of a frame's cells, float32 (64, 64).

    Args:
        frame: uint8 RGB (height, width, 3).
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA))
