"""Build the filters that turn a spectrum into bands."""

from __future__ import annotations

import numpy as np


def triangular_filters(edges: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Build triangular filters, each rising from the edge before it and falling to the edge behind it.

    Args:
        edges: shape (filters + 2,), ascending, in the unit of `positions`; those between the first and the last are the
            peaks.
        positions: places of the spectrum's numbers, shape (n,).

    Returns:
        Weights from 0 to 1, shape (filters, n), of the type of the arguments.
    """
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (positions - left) / (peak - left), (right - positions) / (right - peak)
    return np.maximum(np.minimum(rising, falling), 0)
