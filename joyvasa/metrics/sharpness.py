"""Sharpness of the face: variance of the Laplacian."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, Values
from joyvasa.metrics.support.block_means import BlockMeans
from joyvasa.metrics.support.region import Region, crop_region, face_region

SIDE = 256  # pixels; faces are scaled to this size, so that their values are comparable


class SharpnessMetric(Metric):
    """Variance of the Laplacian of the face (Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, 2000).

    The face box is scaled to 256 x 256 pixels first, as the value depends on the scale. It also grows with noise and
    contrast, so compare it between similar pictures, not between different portraits.
    """

    name = "sharpness"
    needs = "a face in the first frame"
    columns = (
        MetricColumn(
            "sharpness",
            "Sharpness",
            "detail of the face: variance of its Laplacian, mean over all frames",
            "",
            "higher",
        ),
        MetricColumn(
            "sharpness_worst", "Sharpness, worst second", "the same for the second with the least detail", "", "higher"
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        region = face_region(clip)
        return _Sharpness(region, clip.frames_per_second)


class _Sharpness(Measurement):
    def __init__(self, region: Region, frames_per_second: float) -> None:
        self._region = region
        self._means = BlockMeans(1, round(frames_per_second))

    def update(self, frames: np.ndarray) -> None:
        for face in crop_region(frames, self._region):
            self._means.add(np.array([laplacian_variance(face)]))

    def finish(self) -> Values:
        self._means.flush()
        return {"sharpness": float(self._means.mean[0]), "sharpness_worst": float(self._means.lowest[0])}


def laplacian_variance(face: np.ndarray) -> float:
    """Compute the variance of the Laplacian of a picture scaled to 256 x 256 pixels."""
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    shrinks = min(gray.shape) >= SIDE
    gray = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var())
