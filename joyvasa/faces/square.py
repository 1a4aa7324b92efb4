"""Compute an upright square around a face from its landmarks.

The method is LivePortrait's (arXiv:2407.03168, public implementation): two reference points give the axes of the face,
the bounding box of the landmarks along these axes gives center and size, and the square is then enlarged and shifted.
Points are (x, y) in pixels, y downwards; matrices map column vectors (x, y, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, InputError

Points = NDArray[np.floating]

_SHORTEST_AXIS = 1e-3  # pixels; faces with a shorter axis are considered upright

# Indices of the points whose means are the left eye, the right eye and the mouth, by number of points.
_LAYOUTS: dict[int, tuple[list[int], list[int], list[int]]] = {
    5: ([0], [1], [3, 4]),
    9: ([2, 3], [0, 1], [5, 6]),
    68: ([36, 39], [42, 45], [48, 54]),
    101: ([39, 42, 45, 48], [51, 54, 57, 60], [75, 81]),
    106: ([33, 35, 40, 39], [87, 89, 94, 93], [52, 61]),
    203: ([0, 6, 12, 18], [24, 30, 36, 42], [48, 66]),
}


@dataclass(frozen=True)
class Square:
    """A square in a picture: center (x, y) and side in pixels, angle in radians (positive: clockwise on screen)."""

    center: tuple[float, float]
    side: float
    angle: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the square without rotation."""
        (x, y), half = self.center, self.side / 2
        return x - half, y - half, x + half, y + half

    @property
    def corners(self) -> Points:
        """Corners of the rotated square from top left, clockwise (4, 2)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        offsets = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (self.side / 2)
        return np.asarray(self.center) + offsets @ np.array([[cos, sin], [-sin, cos]])


def compute_reference_points(landmarks: Points, *, use_lip: bool = True) -> NDArray[np.float32]:
    """Compute the two points that define the axes of a face.

    Args:
        landmarks: landmarks (points, 2) in a layout of 5, 9, 68, 101, 106 or 203 points; of any other number above 101,
            the first 101 are used.
        use_lip: whether to use the centers of eyes and mouth; otherwise the left eye and the right eye rotated about it
            by 90 degrees, so that the mouth has no influence. Left is the left of the picture.

    Returns:
        Two points, float32 (2, 2); the direction from the first to the second is downwards in the face.

    Raises:
        ConfigError: the layout is unknown.
    """
    points = np.asarray(landmarks, dtype=np.float32)
    layout = len(points) if len(points) in _LAYOUTS or len(points) < 101 else 101
    if layout not in _LAYOUTS:
        expected = ", ".join(map(str, _LAYOUTS))
        raise ConfigError("landmark_layout", f"{len(points)} landmarks found; expected one of {expected}")

    left, right, mouth = (points[indices].mean(axis=0) for indices in _LAYOUTS[layout])
    if use_lip:
        return np.stack([(left + right) / 2, mouth])
    across = right - left
    return np.stack([left, left + np.array([-across[1], across[0]], dtype=np.float32)])


def compute_face_square(
    landmarks: Points,
    *,
    scale: float,
    vx_ratio: float = 0.0,
    vy_ratio: float = 0.0,
    use_lip: bool = True,
    extent: Points | None = None,
) -> Square:
    """Compute the square around a face, along the axes of the face.

    Args:
        landmarks: landmarks as for `compute_reference_points`.
        scale: enlargement, as in `CropConfig`.
        vx_ratio: shift along the eyes, as in `CropConfig`.
        vy_ratio: shift towards the mouth, as in `CropConfig`.
        use_lip: choice of the axes, as for `compute_reference_points`.
        extent: outline of the face (points, 2), if the landmarks span only a part of it; the landmarks by default.
    """
    points = np.asarray(landmarks, dtype=np.float32)
    first, second = compute_reference_points(points, use_lip=use_lip)
    down = second - first
    length = np.linalg.norm(down)
    down = np.array([0, 1], dtype=np.float32) if length <= _SHORTEST_AXIS else down / length
    right = np.array([down[1], -down[0]], dtype=np.float32)
    angle = math.acos(min(1.0, max(-1.0, float(right[0]))))
    if right[1] < 0:
        angle = -angle

    axes = np.stack([right, down])
    outline = points if extent is None else np.asarray(extent, dtype=np.float32)
    mean = outline.mean(axis=0)
    projected = (outline - mean) @ axes.T
    low, high = projected.min(axis=0), projected.max(axis=0)
    side = float((high - low).max()) * scale
    center = mean + (low + high) / 2 @ axes + right * (vx_ratio * side) + down * (vy_ratio * side)
    return Square((float(center[0]), float(center[1])), side, angle)


def compute_crop_matrix(square: Square, size: int, *, rotate: bool = True) -> NDArray[np.float32]:
    """Compute the matrix that maps pixels of the picture to pixels of the crop of a square, float32 (3, 3).

    The crop has sides of `size` pixels; `rotate` states whether it follows the angle of the square.

    Raises:
        InputError: the side of the square is not positive.
    """
    if not square.side > 0:
        raise InputError("face_too_small", "all landmarks of the face are at one point; expected a face of some size")
    scale = size / square.side
    cos, sin = (math.cos(square.angle), math.sin(square.angle)) if rotate else (1.0, 0.0)
    x, y = square.center
    rows = [
        [scale * cos, scale * sin, size / 2 - scale * (cos * x + sin * y)],
        [-scale * sin, scale * cos, size / 2 - scale * (-sin * x + cos * y)],
        [0, 0, 1],
    ]
    return np.array(rows, dtype=np.float32)


def transform_points(points: Points, matrix: Points) -> NDArray[np.float32]:
    """Map points (..., 2) by a matrix (3, 3) or (2, 3)."""
    return (np.asarray(points) @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)
