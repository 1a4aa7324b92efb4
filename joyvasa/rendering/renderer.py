"""Pictures into networks, and keypoints into pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.errors import ModelError


def to_network_input(image: np.ndarray, size: int, *, cropped: bool = True) -> Tensor:
    """Scales a picture for the appearance feature extractor and the motion extractor.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        size: of the result, in pixels.
        cropped: a face crop shrinks by area, which leaves no moire; a whole picture bilinearly, as the
            reference does.

    Returns:
        shape (1, 3, size, size), float32 in [0, 1].
    """
    import cv2  # heavy: only where it is used

    if image.shape[:2] != (size, size):
        by_area = cropped and min(image.shape[:2]) >= size
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR)
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
            feature: of one portrait, shape (1, 32, 16, 64, 64), or of the portrait of each frame, (frames, ...).
            source_keypoints: shape (1 or frames, keypoints, 3).
            driving_keypoints: shape (frames, keypoints, 3).

        Returns:
            RGB, uint8, shape (frames, 512, 512, 3), on the device of the networks.

        Raises:
            ModelError: `frames_not_finite`.
        """
        warped = self._warping(feature, source_keypoints, driving_keypoints)
        image = self._generator(warped["out"])
        if not image.isfinite().all():
            raise ModelError(
                "frames_not_finite",
                f"rendered frames: found NaN or infinity in {image.dtype}; expected finite pixels: "
                "use --precision fp32 or bf16",
            )
        return to_uint8(image)
