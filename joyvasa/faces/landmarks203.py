"""Prepare the input and decode the output of LivePortrait's network of 203 landmarks, `landmark.onnx`.

`joyvasa.faces.geometry` knows what the indices of the landmarks mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.geometry import CropConfig, crop_face
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

SIDE = 224  # pixels; of the network's input
SHAPE = (1, 3, SIDE, SIDE)
_CROP = CropConfig(scale=1.5, vy_ratio=-0.1, size=SIDE)


def prepare_landmarks_input(image: Image, landmarks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Crop a face for the network.

    Args:
        image: uint8 RGB (height, width, 3).
        landmarks: (points, 2) of any layout, pixels of the picture.

    Returns:
        float32 (1, 3, 224, 224) from 0 to 1, and the matrix (3, 3), pixels of the crop -> pixels of the picture.
    """
    crop = crop_face(image, landmarks, _CROP)
    blob = np.ascontiguousarray(crop.image.transpose(2, 0, 1)[None], dtype=np.float32)
    return blob / 255, crop.to_original


def decode_landmarks(output: FloatArray, to_original: FloatArray) -> FloatArray:
    """Decode the network's third output.

    Args:
        output: 406 numbers from 0 to 1 over the crop.
        to_original: the matrix of `network_input`.

    Returns:
        float32 (203, 2), pixels of the picture.
    """
    return transform_points(output.reshape(203, 2) * SIDE, to_original)
