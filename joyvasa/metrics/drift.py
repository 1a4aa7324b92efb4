"""Whether the face becomes lighter, darker, or changes its colour while the clip lasts."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from joyvasa.metrics.base import Clip, Column, Measurement, Metric, NoNumbers, NotMeasured, Values
from joyvasa.metrics.support.block_means import BlockMeans
from joyvasa.metrics.support.region import Region, crop, face_region


class DriftMetric(Metric):
    """Distance in CIELAB of the mean colour of any second from that of the first second, in the face box.

    The box stands still, so a head that leaves it or a camera that moves changes the numbers, too.
    """

    name: ClassVar[str] = "drift"
    needs: ClassVar[str] = "a face in the first frame"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "brightness_drift",
            "Brightness drift",
            "how far the lightness of the face gets from that of the first second; 1 is just visible",
            "L*",
            "lower",
        ),
        Column(
            "colour_drift",
            "Colour drift",
            "how far the colour of the face, lightness left out, gets from that of the first second",
            "a*b*",
            "lower",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        region = face_region(clip)
        if isinstance(region, NotMeasured):
            return NoNumbers(self.all_missing(region.code, region.sentence))
        return _Drift(self, region, clip.frames_per_second)


class _Drift(Measurement):
    def __init__(self, metric: DriftMetric, region: Region, frames_per_second: float) -> None:
        self._metric, self._region = metric, region
        self._means = BlockMeans(3, round(frames_per_second))
        self._brightness = self._colour = 0.0

    def update(self, frames: np.ndarray) -> None:
        for face in crop(frames, self._region):
            self._compare(self._means.add(np.array(cv2.mean(face)[:3])))

    def finish(self) -> Values:
        self._compare(self._means.flush())
        if self._means.n_blocks < 2:
            return self._metric.all_missing("too_short", "less than one and a half seconds; expected at least that")
        return {"brightness_drift": self._brightness, "colour_drift": self._colour}

    def _compare(self, mean: np.ndarray | None) -> None:
        if mean is None:
            return
        lightness, *colour = lab(mean) - lab(self._means.first)
        self._brightness = max(self._brightness, float(abs(lightness)))
        self._colour = max(self._colour, float(np.hypot(*colour)))


def lab(colour: np.ndarray) -> np.ndarray:
    """CIELAB (L*, a*, b*; L* from 0 to 100) of an sRGB colour, shape (3,), 0 to 255."""
    pixel = (colour / 255).astype(np.float32).reshape(1, 1, 3)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)).reshape(3).astype(np.float64)
