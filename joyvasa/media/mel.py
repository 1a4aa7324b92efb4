"""Mel filters."""

from __future__ import annotations

import numpy as np


def triangular_filters(edges: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Build triangular filters, each rising from the previous edge and falling to the next.

    Args:
        edges: ascending edges in the unit of `positions`, shape (filters + 2,); the inner ones are the peaks.
        positions: positions of the spectrum's bins, shape (n,).

    Returns:
        Weights from 0 to 1, shape (filters, n), with the type of the arguments.
    """
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (positions - left) / (peak - left), (right - positions) / (right - peak)
    return np.maximum(np.minimum(rising, falling), 0)
