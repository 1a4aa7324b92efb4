"""F: extracts a feature volume from a portrait (LivePortrait's appearance feature extractor)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import ConvBlock, DownBlock


@dataclass(frozen=True, kw_only=True)
class AppearanceFeatureExtractorConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights."""

    image_channels: int = 3
    base_channels: int = 64  # after the first convolution; doubled by each down block
    max_channels: int = 512
    down_blocks: int = 2  # each halves height and width
    channels: int = 32  # of the feature volume
    depth: int = 16  # of the feature volume
    residual_blocks: int = 6

    def width(self, level: int) -> int:
        """Return the channels after `level` down blocks."""
        return min(self.max_channels, self.base_channels * 2**level)


class ResidualBlock3d(nn.Module):
    """Two 3-D convolutions, each after batch norm and ReLU, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (batch, channels, depth, height, width)."""
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        y = self.conv2(F.relu(self.norm2(y), inplace=True))
        return x + y


class AppearanceFeatureExtractor(nn.Module):
    """Extractor of a portrait's appearance as a volume that the warping module can deform."""

    def __init__(self, config: AppearanceFeatureExtractorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AppearanceFeatureExtractorConfig()
        self.first = ConvBlock(config.image_channels, config.base_channels, dimensions=2)
        self.down_blocks = nn.Sequential(
            *(DownBlock(config.width(i), config.width(i + 1), dimensions=2) for i in range(config.down_blocks))
        )
        self.second = nn.Conv2d(config.width(config.down_blocks), config.channels * config.depth, kernel_size=1)
        self.resblocks_3d = nn.Sequential()
        for i in range(config.residual_blocks):
            self.resblocks_3d.add_module(f"3dr{i}", ResidualBlock3d(config.channels))

    def forward(self, image: Tensor) -> Tensor:
        """Map an RGB image in [0, 1], (batch, 3, 256, 256), to the feature volume.

        Its shape is (batch, channels 32, depth 16, height 64, width 64), float32.
        """
        x = self.first(image)  # (B, 64, 256, 256)
        x = self.down_blocks(x)  # (B, 256, 64, 64)
        x = self.second(x)  # (B, 512, 64, 64)
        x = x.unflatten(1, (self.config.channels, self.config.depth))  # (B, 32, 16, 64, 64)
        return self.resblocks_3d(x).float()
