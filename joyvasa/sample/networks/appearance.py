"""F of the compact networks: extracts pixels and features from a portrait."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.sample.networks.layers import ConvNormRelu, ResidualBlock

FOLD = 4  # side in pixels of the image block that one cell of the feature contains
PIXEL_CHANNELS = 3 * FOLD**2


@dataclass(frozen=True, kw_only=True)
class CompactAppearanceConfig(NetworkConfig):
    """Sizes."""

    channels: int = 32  # channels of the features, without pixels
    width: int = 24  # channels of the first layer


class CompactAppearance(nn.Module):
    """Extractor of a portrait's appearance."""

    def __init__(self, config: CompactAppearanceConfig) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormRelu(3 * 4, config.width),
            ConvNormRelu(config.width, config.channels, stride=2),
            ResidualBlock(config.channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map RGB in [0, 1], (B, 3, H, W), to its pixels, then learned features, (B, 48 + channels, H / 4, W / 4)."""
        features = self.features(pixel_unshuffle(image, 2) * 2 - 1)  # (B, 12, H/2, W/2) -> (B, C, H/4, W/4)
        return torch.cat([pixel_unshuffle(image, FOLD), features], 1)
