"""The cascades of Haar features that OpenCV ships, and how they are searched with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from joyvasa.errors import ModelError
from joyvasa.media.image import Image


@dataclass(frozen=True)
class CascadeHit:
    """Where a cascade says yes, in pixels of the searched picture.

    Args:
        left, top, side: of the square.
        score: the best sum of the last stage, higher is surer; comparable within one cascade only.
        count: windows that say so, at neighbouring places and sizes.
    """

    left: float
    top: float
    side: float
    score: float
    count: int


def load_cascade(name: str) -> cv2.CascadeClassifier:
    """One of OpenCV's cascades.

    Raises:
        ModelError: `cascade_missing`.
    """
    path = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / name
    cascade = cv2.CascadeClassifier(str(path)) if path.is_file() and hasattr(cv2, "CascadeClassifier") else None
    if cascade is None or cascade.empty():
        found = f"OpenCV {cv2.__version__} without {name}"
        raise ModelError("cascade_missing", f"detector cascade is not available: found {found}; install OpenCV 4")
    return cascade


def to_grayscale(image: Image) -> Image:
    """uint8 RGB (height, width, 3) -> uint8 (height, width)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def shrink_to_side(gray: Image, side: int) -> tuple[Image, float]:
    """A picture whose longer side is at most `side`, and the factor it was resized by."""
    factor = min(1.0, side / max(gray.shape))
    if factor == 1:
        return gray, factor
    shrunk = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.uint8), factor


def search_cascade(
    cascade: cv2.CascadeClassifier, gray: Image, *, scale_step: float, min_neighbors: int, min_fraction: float
) -> list[CascadeHit]:
    """Searches a picture at all places and sizes.

    Args:
        cascade: of `load_cascade`; serves one call at a time.
        grey: uint8 (height, width).
        scale_step: ratio of successive window sizes.
        min_neighbors: windows that a hit must have beyond one.
        min_fraction: smallest hit, relative to the picture's shorter side.
    """
    smallest = max(*cascade.getOriginalWindowSize(), int(min(gray.shape) * min_fraction))
    windows, _, weights = cascade.detectMultiScale3(
        gray, scale_step, 0, 0, (smallest, smallest), outputRejectLevels=True
    )
    # Windows come in the order that OpenCV's threads found them; grouping must not depend on it.
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
