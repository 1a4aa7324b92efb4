"""Change of brightness and color of the face over time."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.errors import InputError
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, Values
from joyvasa.metrics.support.block_means import BlockMeans
from joyvasa.metrics.support.region import Region, crop_region, face_region


class DriftMetric(Metric):
    """Largest CIELAB distance between the mean color of the face box in any second and in the first second.

    The box is fixed, so a head that leaves it or a moving camera also changes the values.
    """

    name = "drift"
    needs = "a face in the first frame"
    columns = (
        MetricColumn(
            "brightness_drift",
            "Brightness drift",
            "largest change of the lightness of the face since the first second; 1 is just visible",
            "L*",
            "lower",
        ),
        MetricColumn(
            "color_drift",
            "Color drift",
            "largest change of the color of the face, without lightness, since the first second",
            "a*b*",
            "lower",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        region = face_region(clip)
        return _Drift(region, clip.frames_per_second)


class _Drift(Measurement):
    def __init__(self, region: Region, frames_per_second: float) -> None:
        self._region = region
        self._means = BlockMeans(3, round(frames_per_second))
        self._brightness = self._color = 0.0

    def update(self, frames: np.ndarray) -> None:
        for face in crop_region(frames, self._region):
            self._compare(self._means.add(np.array(cv2.mean(face)[:3])))

    def finish(self) -> Values:
        self._compare(self._means.flush())
        if self._means.n_blocks < 2:
            raise InputError("too_short", "less than one and a half seconds; expected at least that")
        return {"brightness_drift": self._brightness, "color_drift": self._color}

    def _compare(self, mean: np.ndarray | None) -> None:
        if mean is None:
            return
        lightness, *color = to_lab(mean) - to_lab(self._means.first)
        self._brightness = max(self._brightness, float(abs(lightness)))
        self._color = max(self._color, float(np.hypot(*color)))


def to_lab(color: np.ndarray) -> np.ndarray:
    """Convert an sRGB color (0 to 255, shape (3,)) to CIELAB (L*, a*, b*; L* from 0 to 100)."""
    pixel = (color / 255).astype(np.float32).reshape(1, 1, 3)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)).reshape(3).astype(np.float64)
