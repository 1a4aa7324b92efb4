"""Pictures into networks, and keypoints into pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

NETWORK_INPUT_SIZE = 256  # pixels, height and width, of the picture that F and M take


def to_network_input(image: np.ndarray, size: int = NETWORK_INPUT_SIZE) -> Tensor:
    """Scales a picture for the appearance feature extractor and the motion extractor.

    Args:
        image: RGB, uint8, shape (height, width, 3); a crop of 512 x 512 as a rule.
        size: of the result, in pixels.

    Returns:
        shape (1, 3, size, size), float32 in [0, 1].
    """
    import cv2  # heavy: only where it is used

    if image.shape[:2] != (size, size):
        shrinks = min(image.shape[:2]) >= size
        # LivePortrait shrinks crops by area, which leaves no moire.
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def to_uint8(image: Tensor) -> Tensor:
    """Turns network output into pixels, on its device.

    Args:
        image: shape (batch, 3, height, width), nominally in [0, 1].

    Returns:
        uint8, shape (batch, height, width, 3), contiguous; fractions are cut off, as LivePortrait does.
    """
    return image.float().clamp(0, 1).mul(255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Renderer:
    """Renders a portrait in other poses and expressions.

    Args:
        warping: `warping_module`.
        generator: `spade_generator`.
    """

    def __init__(self, warping: nn.Module, generator: nn.Module) -> None:
        self._warping = warping
        self._generator = generator

    @torch.inference_mode()
    def render(self, feature: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor) -> Tensor:
        """Renders frames; memory grows with their number.

        Args:
            feature: of one portrait, shape (1, 32, 16, 64, 64).
            source_keypoints: shape (1, keypoints, 3).
            driving_keypoints: shape (frames, keypoints, 3).

        Returns:
            RGB, uint8, shape (frames, 512, 512, 3), on the device of the networks.
        """
        warped = self._warping(feature, source_keypoints, driving_keypoints)
        return to_uint8(self._generator(warped["out"]))
