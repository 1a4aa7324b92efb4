"""Renderer of portraits, and conversion between pictures and network tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.errors import ModelError
from joyvasa.networks.cpu.compact_rendering import fuse_renderer


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


class Renderer:
    """Renders a portrait in other poses and expressions.

    Args:
        warping: network `warping_module`.
        generator: network `spade_generator`.
    """

    def __init__(self, warping: nn.Module, generator: nn.Module) -> None:
        self._warping, self._generator = warping, generator
        self._fused = fuse_renderer(warping, generator)

    @torch.inference_mode()
    def render(self, feature: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor) -> Tensor:
        """Render frames; memory grows with their number.

        Args:
            feature: appearance volume of one portrait, shape (1, 32, 16, 64, 64), or of the portrait of each frame,
                shape (frames, 32, 16, 64, 64).
            source_keypoints: source keypoints, shape (1 or frames, keypoints, 3).
            driving_keypoints: driving keypoints, shape (frames, keypoints, 3).

        Returns:
            Frames, uint8 RGB, shape (frames, 512, 512, 3), on the device of the networks.

        Raises:
            ModelError: `frames_not_finite`.
        """
        if self._fused:
            image = self._fused(feature, source_keypoints, driving_keypoints)
        else:
            image = self._generator(self._warping(feature, source_keypoints, driving_keypoints)["out"])
        if not image.isfinite().all():
            raise ModelError(
                "frames_not_finite",
                f"rendered frames: found NaN or infinity in {image.dtype}; expected finite pixels: "
                "use --precision fp32 or bf16",
            )
        return to_uint8(image)
