"""Overlap of boxes and non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def suppress_overlaps(boxes: FloatArray, *, overlap: float) -> NDArray[np.intp]:
    """Select boxes by non-maximum suppression; return their indices, best first.

    Args:
        boxes: boxes (n, 4) as left, top, right, bottom, best first.
        overlap: largest intersection over union of two selected boxes.
    """
    order = np.arange(len(boxes))
    selected = []
    while order.size:
        best, order = order[0], order[1:]
        selected.append(best)
        order = order[compute_iou(boxes[best], boxes[order]) <= overlap]
    return np.array(selected, dtype=np.intp)


def compute_iou(box: FloatArray, others: FloatArray) -> FloatArray:
    """Compute the intersection over union of one box (4,) with others (n, 4); 0 where both have no area."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
