"""From landmarks to an upright square around the face.

The rules are LivePortrait's (arXiv:2407.03168, public implementation): two reference points give the axes of the face,
the landmarks' bounding box along these axes gives center and size, and the square is enlarged and shifted from there.
Points are (x, y) in pixels, y downwards; a matrix maps column vectors (x, y, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, InputError

Points = NDArray[np.floating]

_SHORTEST_AXIS = 1e-3  # pixels; below it the face counts as upright

# Layout (number of points) -> indices whose means are the left eye, the right eye and the mouth.
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
        """Left, top, right, bottom of the square, its angle disregarded."""
        (x, y), half = self.center, self.side / 2
        return x - half, y - half, x + half, y + half

    @property
    def corners(self) -> Points:
        """The turned square's corners from top left, clockwise, shape (4, 2)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        offsets = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (self.side / 2)
        return np.asarray(self.center) + offsets @ np.array([[cos, sin], [-sin, cos]])


def reference_points(landmarks: Points, *, use_lip: bool = True) -> NDArray[np.float32]:
    """The two points that fix the axes of a face.

    Args:
        landmarks: shape (points, 2) in one of the layouts of 5, 9, 68, 101, 106 or 203 points; of any other
            number above 101 the first 101 are used.
        use_lip: the eyes' center and the mouth's; otherwise the left eye and the right eye turned about it by
            90 degrees, so that the mouth does not matter. Left is the picture's left.

    Returns:
        float32 (2, 2); from the first to the second point the face points downwards.

    Raises:
        ConfigError: there is no such layout.
    """
    points = np.asarray(landmarks, dtype=np.float32)
    layout = len(points) if len(points) in _LAYOUTS or len(points) < 101 else 101
    if layout not in _LAYOUTS:
        known = ", ".join(map(str, _LAYOUTS))
        raise ConfigError("landmark_layout", f"{len(points)} landmarks found; expected one of {known}")
    left, right, mouth = (points[indices].mean(axis=0) for indices in _LAYOUTS[layout])
    if use_lip:
        return np.stack([(left + right) / 2, mouth])
    across = right - left
    return np.stack([left, left + np.array([-across[1], across[0]], dtype=np.float32)])


def face_square(
    landmarks: Points,
    *,
    scale: float,
    vx_ratio: float = 0.0,
    vy_ratio: float = 0.0,
    use_lip: bool = True,
    extent: Points | None = None,
) -> Square:
    """The square around a face, along the axes of the face.

    Args:
        landmarks: as for `reference_points`.
        scale: as in `CropConfig`.
        vx_ratio: as in `CropConfig`.
        vy_ratio: as in `CropConfig`.
        use_lip: as for `reference_points`.
        extent: (points, 2) whose box the square is built on, where the landmarks span only part of the face; the
            landmarks themselves by default.

    Returns:
        The enlarged and shifted square.
    """
    points = np.asarray(landmarks, dtype=np.float32)
    first, second = reference_points(points, use_lip=use_lip)
    down = second - first
    length = np.linalg.norm(down)
    down = np.array([0, 1], dtype=np.float32) if length <= _SHORTEST_AXIS else down / length
    right = np.array([down[1], -down[0]], dtype=np.float32)
    angle = math.acos(min(1.0, max(-1.0, float(right[0]))))
    if right[1] < 0:
        angle = -angle

    axes = np.stack([right, down])
    spanned = points if extent is None else np.asarray(extent, dtype=np.float32)
    mean = spanned.mean(axis=0)
    along = (spanned - mean) @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    side = float((high - low).max()) * scale
    center = mean + (low + high) / 2 @ axes + right * (vx_ratio * side) + down * (vy_ratio * side)
    return Square((float(center[0]), float(center[1])), side, angle)


def crop_matrix(square: Square, size: int, *, rotate: bool = True) -> NDArray[np.float32]:
    """The matrix that maps pixels of the picture to pixels of the crop.

    Args:
        square: where the crop lies.
        size: side of the crop, pixels.
        rotate: follow the square's angle.

    Returns:
        float32 (3, 3).

    Raises:
        InputError: the square has no extent.
    """
    if not square.side > 0:
        raise InputError("face_too_small", "all landmarks of the face fall on one point; expected a face of some size")
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
    """Maps points of shape (..., 2) by a (3, 3) or (2, 3) matrix."""
    return (np.asarray(points) @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)
