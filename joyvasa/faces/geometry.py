"""Crop faces from pictures as the networks expect them, with the mapping back to the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.config import RangedOptions, ranged
from joyvasa.errors import ConfigError
from joyvasa.faces.square import Points, Square, compute_crop_matrix, compute_face_square, transform_points
from joyvasa.media.image import Image


@dataclass(frozen=True)
class CropConfig:
    """Options of the square around a face.

    The defaults are the published CropConfig values; the command line of the reference uses a scale of 3.0.

    Raises:
        ConfigError: a value is out of range.
    """

    # side of the square relative to the larger side of the box of the landmarks; 1.8 to 2.0 gives livelier lips, 3.0
    # shows more of the surroundings
    scale: float = 2.3
    # shift of the center along the eyes, in sides of the square; positive is to the right. The reference ignores it,
    # which equals the default.
    vx_ratio: float = 0.0
    # shift of the center towards the mouth, in sides of the square; negative is towards the forehead
    vy_ratio: float = -0.125
    size: int = 512  # side of the crop, pixels
    rotate: bool = True  # whether to rotate the face upright

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError("crop_scale", f"crop scale is {self.scale}; expected a number above 0, usually 2.3")
        if not all(math.isfinite(ratio) and abs(ratio) <= 1 for ratio in (self.vx_ratio, self.vy_ratio)):
            shift = f"({self.vx_ratio}, {self.vy_ratio})"
            raise ConfigError("crop_shift", f"crop shift (vx_ratio, vy_ratio) is {shift}; expected values in [-1, 1]")
        if not 16 <= self.size <= 4096:
            raise ConfigError("crop_size", f"crop size is {self.size} pixels; expected 16 to 4096, usually 512")


@dataclass(frozen=True, kw_only=True)
class FramingControls(RangedOptions):
    """Controls of the square around a face, relative to `CropConfig`."""

    _group = "framing."

    # size of the square relative to `crop.scale`; larger values show more of the surroundings
    scale: float = ranged(1.0, 0.5, 2.0, "times")
    # shift of the square along the eyes, in addition to `crop.vx_ratio`; positive is to the right
    x: float = ranged(0.0, -0.4, 0.4, "sides of the square")
    # shift of the square towards the mouth, in addition to `crop.vy_ratio`; negative is towards the forehead
    y: float = ranged(0.0, -0.4, 0.4, "sides of the square")

    def apply(self, crop: CropConfig) -> CropConfig:
        """Return the crop with this framing."""
        x, y = (max(-1.0, min(1.0, ratio)) for ratio in (crop.vx_ratio + self.x, crop.vy_ratio + self.y))
        return replace(crop, scale=crop.scale * self.scale, vx_ratio=x, vy_ratio=y)


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A face cropped from a picture."""

    image: Image  # crop, uint8 RGB (size, size, 3); black outside the picture
    to_original: NDArray[np.float32]  # matrix from pixels of the crop to pixels of the picture, float32 (3, 3)
    to_crop: NDArray[np.float32]  # inverse matrix, float32 (3, 3)
    landmarks: NDArray[np.float32]  # landmarks in pixels of the crop, float32 (points, 2)
    outside_fraction: float  # fraction of the crop that is outside the picture, 0 to 1


def warp_image(image: Image, matrix: Points, size: tuple[int, int]) -> Image:
    """Warp an image, uint8 (height, width[, 3]), by an affine matrix, bilinearly and with black outside.

    The matrix (3, 3) maps pixels of the image to pixels of the result, whose width and height are `size`.
    """
    return np.asarray(cv2.warpAffine(image, matrix[:2], size, flags=cv2.INTER_LINEAR), dtype=np.uint8)


def crop_square(image: Image, square: Square, size: int, *, landmarks: Points, rotate: bool = True) -> FaceCrop:
    """Crop a square from a picture.

    Args:
        image: uint8 RGB (height, width, 3).
        square: square in the picture.
        size: side of the crop, pixels.
        landmarks: landmarks to map to the crop (points, 2), in pixels of the picture.
        rotate: whether to follow the angle of the square.
    """
    to_crop = compute_crop_matrix(square, size, rotate=rotate)
    to_original = np.linalg.inv(to_crop)
    crop = warp_image(image, to_crop, (size, size))
    return FaceCrop(
        image=crop,
        to_original=to_original,
        to_crop=to_crop,
        landmarks=transform_points(landmarks, to_crop),
        outside_fraction=_outside_fraction(image.shape[:2], to_original, size),
    )


def crop_face(
    image: Image, landmarks: Points, config: CropConfig | None = None, *, extent: Points | None = None
) -> FaceCrop:
    """Crop a face from a picture, upright and centered; `outside_fraction` counts the black parts outside the picture.

    Args:
        image: uint8 RGB (height, width, 3).
        landmarks: landmarks as for `compute_reference_points`, in pixels of `image`.
        config: options of the square; the published values by default.
        extent: outline as for `compute_face_square`.
    """
    config = config or CropConfig()
    square = compute_face_square(
        landmarks, scale=config.scale, vx_ratio=config.vx_ratio, vy_ratio=config.vy_ratio, extent=extent
    )
    return crop_square(image, square, config.size, landmarks=landmarks, rotate=config.rotate)


def compute_average_square(squares: Sequence[Square]) -> Square:
    """Return the upright square with the mean center and the mean side of squares.

    Raises:
        ConfigError: `no_frames`.
    """
    if not squares:
        raise ConfigError(
            "no_frames", "no landmarks given for the average square; expected those of at least one frame"
        )
    x, y = np.mean([square.center for square in squares], axis=0)
    return Square((float(x), float(y)), float(np.mean([square.side for square in squares])), 0.0)


def _outside_fraction(shape: tuple[int, ...], to_original: Points, size: int) -> float:
    """Compute the fraction of the crop that is outside the picture."""
    height, width = shape
    corners = transform_points(np.array([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5, to_original)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32) - 0.5
    area, _ = cv2.intersectConvexConvex(corners, frame)
    return float(np.clip(1 - area / cv2.contourArea(corners), 0, 1))
