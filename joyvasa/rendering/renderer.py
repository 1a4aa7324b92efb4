"""Renderer of portraits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from joyvasa.errors import ModelError
from joyvasa.networks.cpu.compact_rendering import fuse_renderer
from joyvasa.networks.pictures import to_uint8


class Renderer:
    """Renders a portrait in other poses and expressions."""

    def __init__(self, warping: nn.Module, generator: nn.Module) -> None:
        self._warping, self._generator = warping, generator
        self._fused = fuse_renderer(warping, generator)

    @torch.inference_mode()
    def render(
        self, feature: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor, *, moving_portrait: bool = False
    ) -> Tensor:
        """Render frames; memory grows with their number.

        Args:
            feature: appearance volume of one portrait, shape (1, 32, 16, 64, 64), or of the portrait of each frame,
                shape (frames, 32, 16, 64, 64).
            source_keypoints: source keypoints, shape (1 or frames, keypoints, 3).
            driving_keypoints: driving keypoints, shape (frames, keypoints, 3).
            moving_portrait: whether each frame has a portrait of its own, so that none is worth preparing.

        Returns:
            Frames, uint8 RGB, shape (frames, 512, 512, 3), on the device of the networks.

        Raises:
            ModelError: `frames_not_finite`.
        """
        if self._fused:
            image = self._fused(feature, source_keypoints, driving_keypoints, moving_portrait=moving_portrait)
        else:
            image = self._generator(self._warping(feature, source_keypoints, driving_keypoints)["out"])
        if not image.isfinite().all():
            raise ModelError(
                "frames_not_finite",
                f"rendered frames: found NaN or infinity in {image.dtype}; expected finite pixels: "
                "use --precision fp32 or bf16",
            )
        return to_uint8(image)
