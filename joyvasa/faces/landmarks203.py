"""Prepare the input and decode the output of LivePortrait's network of 203 landmarks, `landmark.onnx`.

The meaning of the indices is defined in `joyvasa.faces.square` and `joyvasa.faces.ratios`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.geometry import CropConfig, crop_face
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

SIDE = 224  # side of the network's input, pixels
SHAPE = (1, 3, SIDE, SIDE)
_CROP = CropConfig(scale=1.5, vy_ratio=-0.1, size=SIDE)


def prepare_landmarks_input(image: Image, landmarks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Crop a face for the network.

    Args:
        image: uint8 RGB (height, width, 3).
        landmarks: landmarks (points, 2) in any layout, pixels of the picture.

    Returns:
        Input in [0, 1], float32 (1, 3, 224, 224), and matrix from pixels of the crop to pixels of the picture (3, 3).
    """
    crop = crop_face(image, landmarks, _CROP)
    blob = np.ascontiguousarray(crop.image.transpose(2, 0, 1)[None], dtype=np.float32)
    return blob / 255, crop.to_original


def decode_landmarks(output: FloatArray, to_original: FloatArray) -> FloatArray:
    """Decode the third output of the network.

    Args:
        output: 406 coordinates in the crop, 0 to 1.
        to_original: matrix returned by `prepare_landmarks_input`.

    Returns:
        Landmarks, float32 (203, 2), pixels of the picture.
    """
    return transform_points(output.reshape(203, 2) * SIDE, to_original)
