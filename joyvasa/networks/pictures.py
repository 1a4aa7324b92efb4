"""Conversion between pictures and network tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_network_input(image: np.ndarray, size: int, *, cropped: bool = True) -> Tensor:
    """Scale a picture for the appearance feature extractor and the motion extractor.

    Args:
        image: picture, uint8 RGB, shape (height, width, 3).
        size: side of the result, pixels.
        cropped: whether the picture is a face crop, which is scaled down by area to avoid moiré; whole pictures are
            scaled bilinearly as in the reference.

    Returns:
        Network input, shape (1, 3, size, size), float32 in [0, 1].
    """
    import cv2  # slow to import

    if image.shape[:2] != (size, size):
        by_area = cropped and min(image.shape[:2]) >= size
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def to_uint8(image: Tensor) -> Tensor:
    """Convert network output to pixels on its device.

    Args:
        image: network output, shape (batch, 3, height, width), nominally in [0, 1].

    Returns:
        Pixels, uint8, shape (batch, height, width, 3), contiguous; rounded down as in LivePortrait.
    """
    return image.float().clamp(0, 1).mul(255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
