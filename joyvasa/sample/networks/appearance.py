"""F of the compact family: a portrait becomes its own pixels and features of what is where."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.sample.networks.layers import ConvNormRelu, ResidualBlock

FOLD = 4  # pixels of the picture beside and below each other that lie behind one place of the feature
PIXEL_CHANNELS = 3 * FOLD**2


@dataclass(frozen=True, kw_only=True)
class CompactAppearanceConfig(NetworkConfig):
    """Sizes."""

    channels: int = 32  # of the features
    width: int = 24  # of the first layer


class CompactAppearance(nn.Module):
    """Portrait -> feature.

    Args:
        config: sizes.
    """

    def __init__(self, config: CompactAppearanceConfig) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormRelu(3 * 4, config.width),
            ConvNormRelu(config.width, config.channels, stride=2),
            ResidualBlock(config.channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Extracts.

        Args:
            image: shape (B, 3, H, W) in [0, 1].

        Returns:
            shape (B, 48 + channels, H / 4, W / 4): the pixels themselves, then features.
        """
        features = self.features(pixel_unshuffle(image, 2) * 2 - 1)  # (B, 12, H/2, W/2) -> (B, C, H/4, W/4)
        return torch.cat([pixel_unshuffle(image, FOLD), features], 1)
