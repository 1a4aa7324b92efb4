"""Load and run the Haar cascades of OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from joyvasa.errors import ModelError
from joyvasa.media.image import Image


@dataclass(frozen=True)
class CascadeHit:
    """Square in which a cascade detected its object, in pixels of the searched picture.

    Args:
        left, top, side: position and size of the square.
        score: best sum of the last stage, higher is more certain; comparable only within one cascade.
        count: number of overlapping windows with a detection.
    """

    left: float
    top: float
    side: float
    score: float
    count: int


def load_cascade(name: str) -> cv2.CascadeClassifier:
    """Load one of OpenCV's cascades.

    Raises:
        ModelError: `cascade_missing`.
    """
    path = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / name
    cascade = cv2.CascadeClassifier(str(path)) if path.is_file() and hasattr(cv2, "CascadeClassifier") else None
    if cascade is None or cascade.empty():
        raise ModelError(
            "cascade_missing",
            f"detector cascade is not available: found OpenCV {cv2.__version__} without {name}; install OpenCV 4",
        )
    return cascade


def rgb_to_gray(image: Image) -> Image:
    """Convert uint8 RGB (height, width, 3) to uint8 grayscale (height, width)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def shrink_to_side(gray: Image, side: int) -> tuple[Image, float]:
    """Shrink a picture to a longer side of at most `side`; return it and the scale factor."""
    factor = min(1.0, side / max(gray.shape))
    if factor == 1:
        return gray, factor
    shrunk = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.uint8), factor


def search_cascade(
    cascade: cv2.CascadeClassifier, gray: Image, *, scale_step: float, min_neighbors: int, min_fraction: float
) -> list[CascadeHit]:
    """Search a picture with a cascade at all positions and sizes.

    Args:
        cascade: result of `load_cascade`; not thread-safe.
        gray: uint8 (height, width).
        scale_step: ratio of successive window sizes.
        min_neighbors: minimum number of overlapping windows of a hit, besides the first.
        min_fraction: smallest hit, relative to the shorter side of the picture.
    """
    smallest = max(*cascade.getOriginalWindowSize(), int(min(gray.shape) * min_fraction))
    windows, _, weights = cascade.detectMultiScale3(
        gray, scale_step, 0, 0, (smallest, smallest), outputRejectLevels=True
    )

    # The order of windows depends on OpenCV's threads; sort them so that grouping is deterministic.
    windows, weights = np.reshape(windows, (-1, 4)).astype(int), np.reshape(weights, -1)
    order = np.lexsort(windows.T)
    boxes, weights = windows[order, :3], weights[order]
    groups, counts = cv2.groupRectangles(windows[order].tolist(), min_neighbors, 0.2)

    hits = []
    for group, count in zip(np.reshape(groups, (-1, 4))[:, :3], np.reshape(counts, -1), strict=True):
        near = np.abs(boxes - group).max(axis=1) <= 0.25 * group[2]
        if near.any():
            left, top, side = (float(value) for value in group)
            hits.append(CascadeHit(left, top, side, float(weights[near].max()), int(count)))
    return hits
