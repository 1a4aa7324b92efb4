"""Openings of eyes and lips from landmarks in the 203-point layout of LivePortrait."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError

_EPSILON = 1e-6
_POINTS = 203

# (upper, lower), (corner, corner): indices of the points that give height and width.
_LEFT_EYE = ((6, 18), (0, 12))
_RIGHT_EYE = ((30, 42), (24, 36))
_LIPS = ((90, 102), (48, 66))


def compute_eye_ratios(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the openings of the eyes, height over width.

    Args:
        landmarks: landmarks (203, 2) or (batch, 203, 2), in any unit.

    Returns:
        Ratios of the left and the right eye, float32 (batch, 2); 0 is closed.
    """
    return np.stack([_ratio(landmarks, *_LEFT_EYE), _ratio(landmarks, *_RIGHT_EYE)], axis=1)


def compute_lip_ratios(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the opening of the lips, height over width.

    Args:
        landmarks: landmarks as for `compute_eye_ratios`.

    Returns:
        Ratios, float32 (batch, 1); 0 is closed.
    """
    return _ratio(landmarks, *_LIPS)[:, None]


def _ratio(landmarks: NDArray[np.floating], opening: tuple[int, int], width: tuple[int, int]) -> NDArray[np.floating]:
    points = np.asarray(landmarks, dtype=np.float32)
    if points.ndim not in (2, 3) or points.shape[-2:] != (_POINTS, 2):
        raise ConfigError("landmark_layout", f"landmarks of shape {points.shape} found; expected ([batch,] 203, 2)")
    points = points.reshape(-1, _POINTS, 2)

    def distance(pair: tuple[int, int]) -> NDArray[np.floating]:
        return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)

    return distance(opening) / (distance(width) + np.float32(_EPSILON))
