"""Repeated frames, and periods in which the picture does not change."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.errors import InputError
from joyvasa.media.scenes import STILL
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, Values

GRID = 64  # cells per side; averages out compression noise, while the lips still cover several cells
SAME = 1.5  # gray levels of 255; a frame in which no cell changes by more repeats the previous one
FROZEN_S = 0.2  # shortest frozen period; speakers never hold that still for that long


class FreezeMetric(Metric):
    """Repeated and frozen frames, computed from 64 x 64 mean gray levels of the whole frame."""

    name = "freeze"
    columns = (
        MetricColumn("duplicate_share", "Repeated frames", "share of frames that repeat the previous one", "", "lower"),
        MetricColumn(
            "frozen_share",
            "Frozen",
            "share of frames in periods of 0.2 s or more without any movement",
            "",
            "lower",
        ),
        MetricColumn("longest_freeze_s", "Longest freeze", "length of the longest of these periods", "s", "lower"),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        return _Freeze(clip.frames_per_second)


class _Freeze(Measurement):
    def __init__(self, frames_per_second: float) -> None:
        self._frames_per_second = frames_per_second
        self._min_frames = max(2, round(FROZEN_S * frames_per_second))  # minimum length of a frozen period
        self._last: np.ndarray | None = None
        self._reference = np.zeros(0)
        self._n_frames = self._n_duplicates = self._n_frozen = self._still_frames = self._longest = 0

    def update(self, frames: np.ndarray) -> None:
        for frame in frames:
            gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
            self._add(np.asarray(cv2.resize(gray, (GRID, GRID), interpolation=cv2.INTER_AREA)))

    def finish(self) -> Values:
        self._end_period()
        if self._n_frames < 2:
            raise InputError("too_short", "a single frame; expected at least two")
        return {
            "duplicate_share": self._n_duplicates / (self._n_frames - 1),
            "frozen_share": self._n_frozen / self._n_frames,
            "longest_freeze_s": self._longest / self._frames_per_second,
        }

    def _add(self, cells: np.ndarray) -> None:
        """Compare the mean gray level of each cell of a frame, float32 (64, 64)."""
        self._n_frames += 1
        if self._last is not None:
            self._n_duplicates += int(np.abs(cells - self._last).max() < SAME)
        if self._still_frames and np.abs(cells - self._reference).max() < STILL:
            self._still_frames += 1
        else:
            self._end_period()
            self._reference, self._still_frames = cells, 1
        self._last = cells

    def _end_period(self) -> None:
        if self._still_frames >= self._min_frames:
            self._n_frozen += self._still_frames
            self._longest = max(self._longest, self._still_frames)
