"""Crop geometry: from landmarks to an upright square around the face, and back.

The rules are LivePortrait's (arXiv:2407.03168, public implementation): two reference points give the axes of the face,
the landmarks' bounding box along these axes gives centre and size, and the square is enlarged and shifted from there.
Points are (x, y) in pixels, y downwards; a matrix maps column vectors (x, y, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, InputError

Points = NDArray[np.floating]
Image = NDArray[np.uint8]

NETWORK_SIDE = 256  # pixels; input of the appearance and motion extractors
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
class CropConfig:
    """How the square around a face is chosen.

    The defaults are the published CropConfig values; the reference's command line uses a scale of 3.0 instead.

    Args:
        scale: side of the square relative to the larger side of the landmarks' box.
        vx_ratio: shift of the centre to the face's right side of the picture, in sides of the square. The reference
            accepts and ignores it, which equals the default.
        vy_ratio: shift of the centre towards the mouth, in sides of the square; negative is towards the forehead.
        size: side of the crop, pixels.
        rotate: turn the face upright.

    Raises:
        ConfigError: a value is out of range.
    """

    scale: float = 2.3
    vx_ratio: float = 0.0
    vy_ratio: float = -0.125
    size: int = 512
    rotate: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError("crop_scale", f"crop scale is {self.scale}; expected a number above 0, usually 2.3")
        if not all(math.isfinite(ratio) and abs(ratio) <= 1 for ratio in (self.vx_ratio, self.vy_ratio)):
            found = f"({self.vx_ratio}, {self.vy_ratio})"
            raise ConfigError("crop_shift", f"crop shift (vx_ratio, vy_ratio) is {found}; expected values in [-1, 1]")
        if not 16 <= self.size <= 4096:
            raise ConfigError("crop_size", f"crop size is {self.size} pixels; expected 16 to 4096, usually 512")


@dataclass(frozen=True)
class Square:
    """A square in a picture: centre (x, y) and side in pixels, angle in radians (positive: clockwise on screen)."""

    centre: tuple[float, float]
    side: float
    angle: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the square, its angle disregarded."""
        (x, y), half = self.centre, self.side / 2
        return x - half, y - half, x + half, y + half

    @property
    def corners(self) -> Points:
        """The turned square's corners from top left, clockwise, shape (4, 2)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        offsets = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (self.side / 2)
        return np.asarray(self.centre) + offsets @ np.array([[cos, sin], [-sin, cos]])


@dataclass(frozen=True)
class FaceCrop:
    """A face cut out of a picture.

    Args:
        image: uint8 RGB (size, size, 3); black where the square leaves the picture.
        network_input: the same as uint8 RGB (256, 256, 3).
        to_original: float32 (3, 3), pixels of the crop -> pixels of the picture.
        to_crop: float32 (3, 3), the inverse.
        landmarks: float32 (points, 2), in pixels of the crop.
        outside_fraction: part of the crop that lies outside the picture, 0 to 1.
    """

    image: Image
    network_input: Image
    to_original: NDArray[np.float32]
    to_crop: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    outside_fraction: float


def reference_points(landmarks: Points, *, use_lip: bool = True) -> NDArray[np.float32]:
    """The two points that fix the axes of a face.

    Args:
        landmarks: shape (points, 2) in one of the layouts of 5, 9, 68, 101, 106 or 203 points; of any other
            number above 101 the first 101 are used.
        use_lip: the eyes' centre and the mouth's; otherwise the left eye and the right eye turned about it by
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
    centre = mean + (low + high) / 2 @ axes + right * (vx_ratio * side) + down * (vy_ratio * side)
    return Square((float(centre[0]), float(centre[1])), side, angle)


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
    x, y = square.centre
    rows = [
        [scale * cos, scale * sin, size / 2 - scale * (cos * x + sin * y)],
        [-scale * sin, scale * cos, size / 2 - scale * (-sin * x + cos * y)],
        [0, 0, 1],
    ]
    return np.array(rows, dtype=np.float32)


def transform_points(points: Points, matrix: Points) -> NDArray[np.float32]:
    """Maps points of shape (..., 2) by a (3, 3) or (2, 3) matrix."""
    return (np.asarray(points) @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)


def warp(image: Image, matrix: Points, size: tuple[int, int]) -> Image:
    """Resamples bilinearly, black outside.

    Args:
        image: uint8 (height, width[, 3]).
        matrix: (3, 3), pixels of `image` -> pixels of the result.
        size: (width, height) of the result.

    Returns:
        uint8, as `image` otherwise.
    """
    return cv2.warpAffine(image, matrix[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # pyright: ignore[reportReturnType]


def crop_square(image: Image, square: Square, size: int, *, landmarks: Points, rotate: bool = True) -> FaceCrop:
    """Cuts a square out of a picture.

    Args:
        image: uint8 RGB (height, width, 3).
        square: where to cut.
        size: side of the crop, pixels.
        landmarks: (points, 2) in pixels of the picture, to be carried along.
        rotate: follow the square's angle.

    Returns:
        The crop.
    """
    to_crop = crop_matrix(square, size, rotate=rotate)
    crop = warp(image, to_crop, (size, size))
    return FaceCrop(
        image=crop,
        network_input=cv2.resize(crop, (NETWORK_SIDE, NETWORK_SIDE), interpolation=cv2.INTER_AREA),  # pyright: ignore[reportArgumentType]
        to_original=np.linalg.inv(to_crop),
        to_crop=to_crop,
        landmarks=transform_points(landmarks, to_crop),
        outside_fraction=_outside_fraction(image.shape[:2], np.linalg.inv(to_crop), size),
    )


def crop_face(
    image: Image, landmarks: Points, config: CropConfig | None = None, *, extent: Points | None = None
) -> FaceCrop:
    """Cuts a face out of a picture, upright and centred as the networks expect it.

    Args:
        image: uint8 RGB (height, width, 3).
        landmarks: as for `reference_points`, in pixels of `image`.
        config: how the square is chosen; the published values by default.
        extent: as for `face_square`.

    Returns:
        The crop. A face at the border is a defined case: what lies outside the picture is black and counted in
        `outside_fraction`.
    """
    config = config or CropConfig()
    shift = {"vx_ratio": config.vx_ratio, "vy_ratio": config.vy_ratio}
    square = face_square(landmarks, scale=config.scale, extent=extent, **shift)
    return crop_square(image, square, config.size, landmarks=landmarks, rotate=config.rotate)


def whole_picture(image: Image) -> Image:
    """The network input without a crop: the whole picture as uint8 RGB (256, 256, 3), its proportions disregarded."""
    return cv2.resize(image, (NETWORK_SIDE, NETWORK_SIDE), interpolation=cv2.INTER_LINEAR)  # pyright: ignore[reportReturnType]


def average_square(frames: Sequence[Points], *, scale: float = 2.2, vy_ratio: float = -0.1) -> Square:
    """One upright square for a whole video, the mean of those of its frames.

    The defaults are the published values for driving videos.

    Args:
        frames: landmarks of each frame, as for `reference_points`.
        scale: as in `CropConfig`.
        vy_ratio: as in `CropConfig`.

    Returns:
        The square; its angle is 0.
    """
    squares = [face_square(landmarks, scale=scale, vy_ratio=vy_ratio) for landmarks in frames]
    if not squares:
        raise ConfigError(
            "no_frames", "no landmarks given for the average square; expected those of one frame at least"
        )
    x, y = np.mean([square.centre for square in squares], axis=0)
    return Square((float(x), float(y)), float(np.mean([square.side for square in squares])), 0.0)


def _outside_fraction(shape: tuple[int, ...], to_original: Points, size: int) -> float:
    """Part of the crop's pixels whose place in the picture is outside of it."""
    height, width = shape
    corners = transform_points(np.array([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5, to_original)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32) - 0.5
    area, _ = cv2.intersectConvexConvex(corners, frame)
    return float(np.clip(1 - area / cv2.contourArea(corners), 0, 1))
