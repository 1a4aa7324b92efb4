"""Landmark networks: what goes into them and what their numbers mean.

106 points: InsightFace's `2d106det.onnx`. 203 points: LivePortrait's `landmark.onnx`. The indices of both layouts are
those that `joyvasa.faces.geometry` knows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.geometry import CropConfig, crop_face, warp
from joyvasa.faces.square import Square, crop_matrix, transform_points
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

SIDE_106 = 192  # pixels; input of the 106-point network
SIDE_203 = 224  # pixels; input of the 203-point network
_BOX_SCALE = 1.5  # the 106-point network sees the detector's box with half of it around
_CROP_203 = CropConfig(scale=1.5, vy_ratio=-0.1, size=SIDE_203)


def input_106(image: Image, box: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What the 106-point network sees of a face.

    Args:
        image: uint8 RGB (height, width, 3).
        box: left, top, right, bottom of the face.

    Returns:
        float32 (1, 3, 192, 192) from 0 to 255, and the matrix (3, 3), pixels of the crop -> pixels of the picture.
    """
    left, top, right, bottom = (float(value) for value in box)
    square = Square(((left + right) / 2, (top + bottom) / 2), max(right - left, bottom - top) * _BOX_SCALE, 0.0)
    to_crop = crop_matrix(square, SIDE_106)
    crop = warp(image, to_crop, (SIDE_106, SIDE_106))
    return _batch(crop), np.linalg.inv(to_crop)


def points_106(output: FloatArray, to_original: FloatArray) -> FloatArray:
    """The 106-point network's output as points.

    Args:
        output: 212 numbers from -1 to 1 over the crop.
        to_original: the matrix of `input_106`.

    Returns:
        float32 (106, 2), pixels of the picture.
    """
    return transform_points((output.reshape(106, 2) + 1) * (SIDE_106 // 2), to_original)


def input_203(image: Image, landmarks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What the 203-point network sees of a face.

    Args:
        image: uint8 RGB (height, width, 3).
        landmarks: (points, 2) of any layout, pixels of the picture.

    Returns:
        float32 (1, 3, 224, 224) from 0 to 1, and the matrix (3, 3), pixels of the crop -> pixels of the picture.
    """
    crop = crop_face(image, landmarks, _CROP_203)
    return _batch(crop.image) / 255, crop.to_original


def points_203(output: FloatArray, to_original: FloatArray) -> FloatArray:
    """The 203-point network's third output as points.

    Args:
        output: 406 numbers from 0 to 1 over the crop.
        to_original: the matrix of `input_203`.

    Returns:
        float32 (203, 2), pixels of the picture.
    """
    return transform_points(output.reshape(203, 2) * SIDE_203, to_original)


def _batch(crop: Image) -> FloatArray:
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
