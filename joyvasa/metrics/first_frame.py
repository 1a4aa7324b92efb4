"""Similarity of the first frame and the source picture."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.errors import InputError
from joyvasa.media.image import Image
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, NotMeasured, Values
from joyvasa.metrics.support.region import MIN_SIDE, crop_region, face_region

WINDOW, SIGMA = 11, 1.5  # Gaussian window of SSIM, pixels
K1, K2 = 0.01, 0.03
MAX_PSNR = 100.0  # dB; reported for equal pictures, whose PSNR is infinite


class FirstFrameMetric(Metric):
    """SSIM (Wang et al., Image Quality Assessment, 2004) and PSNR of the first frame and the reference frame."""

    name = "first_frame"
    needs = "the source picture in the size of the frames"
    columns = (
        MetricColumn(
            "first_frame_ssim",
            "First frame, SSIM",
            "similarity of the first frame and the source picture without motion; 1 if equal",
            "",
            "higher",
        ),
        MetricColumn(
            "first_frame_psnr",
            "First frame, PSNR",
            "signal-to-noise ratio of the same pictures; 100 if equal",
            "dB",
            "higher",
        ),
        MetricColumn("first_face_ssim", "First face, SSIM", "the same within the face box", "", "higher"),
        MetricColumn(
            "first_face_psnr", "First face, PSNR", "signal-to-noise ratio within the face box", "dB", "higher"
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        if clip.reference_frame is None:
            sentence = "no source picture is known; expected the row's image"
            raise InputError("no_still", sentence)

        height, width = clip.reference_frame.shape[:2]
        if (height, width) != (clip.height, clip.width):
            sizes = f"source picture of {width}x{height} pixels, frames of {clip.width}x{clip.height}"
            raise InputError("size_differs", f"{sizes}; expected equal sizes")
        if min(height, width) < MIN_SIDE:
            sentence = f"frames of {clip.width}x{clip.height} pixels; expected at least {MIN_SIDE} a side"
            raise InputError("frame_too_small", sentence)
        return _FirstFrame(clip, clip.reference_frame)


class _FirstFrame(Measurement):
    def __init__(self, clip: Clip, reference: Image) -> None:
        self._reference, self._clip = reference, clip
        self._values: dict[str, float | NotMeasured] | None = None

    def update(self, frames: np.ndarray) -> None:
        if self._values is not None:
            return
        first = frames[0]
        self._values = {
            "first_frame_ssim": ssim(first, self._reference),
            "first_frame_psnr": psnr(first, self._reference),
        }
        try:
            region = face_region(self._clip)
        except InputError as error:
            reason = NotMeasured(error.code, error.sentence)
            self._values |= {"first_face_ssim": reason, "first_face_psnr": reason}
            return
        pair = crop_region(first, region), crop_region(self._reference, region)
        self._values |= {"first_face_ssim": ssim(*pair), "first_face_psnr": psnr(*pair)}

    def finish(self) -> Values:
        return self._values or {}


def psnr(image: Image, other: Image) -> float:
    """Compute the peak signal-to-noise ratio of two uint8 pictures over all channels, dB; `MAX_PSNR` for equal ones."""
    error = np.mean((image.astype(np.float64) - other.astype(np.float64)) ** 2) / 255**2
    return min(MAX_PSNR, float(10 * np.log10(1 / error))) if error else MAX_PSNR


def ssim(image: Image, other: Image) -> float:
    """Compute the structural similarity (11 x 11 Gaussian, sigma 1.5, no padding), mean over channels.

    Both pictures are uint8 (height, width, channels), at least 11 pixels per side.
    """
    return float(np.mean([_ssim(image[..., n], other[..., n]) for n in range(image.shape[2])]))


def _ssim(a: Image, b: Image) -> float:
    x, y = a.astype(np.float64) / 255, b.astype(np.float64) / 255
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2  # for a data range of 1
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float((numerator / denominator).mean())


def _blur(values: np.ndarray) -> np.ndarray:
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    margin = WINDOW // 2
    return np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel))[margin:-margin, margin:-margin]
