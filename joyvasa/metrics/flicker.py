"""Temporal flickering of VBench: similarity of neighboring frames."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, NotMeasured, Values


class FlickerMetric(Metric):
    """VBench's `temporal_flickering`: (255 - mean difference of neighboring frames) / 255 (Huang et al., 2024).

    It is designed for static scenes: movement also lowers it, and a frozen video scores 1.
    """

    name = "flicker"
    columns = (
        MetricColumn(
            "temporal_flickering",
            "Temporal flickering",
            "similarity of neighboring frames over the whole picture; 1 for a still picture; depends on head speed",
            "",
            "higher",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        return _Flicker()


class _Flicker(Measurement):
    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._total, self._n_pairs = 0.0, 0

    def update(self, frames: np.ndarray) -> None:
        for frame in frames:
            if self._last is not None:
                self._total += float(np.mean(cv2.mean(cv2.absdiff(frame, self._last))[:3]))
                self._n_pairs += 1
            self._last = frame

    def finish(self) -> Values:
        if not self._n_pairs:
            return {"temporal_flickering": NotMeasured("too_short", "a single frame; expected at least two")}
        return {"temporal_flickering": (255 - self._total / self._n_pairs) / 255}
