"""Layers and helpers shared by the compact networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormRelu(nn.Sequential):
    """3x3 convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )

    def forward_parts(self, *parts: tuple[Tensor, Sequence[int]]) -> Tensor:
        """Apply the block to an input given in parts; a part of batch size 1 is shared by the batch.

        Args:
            parts: tensors, shape (1 or B, n, H, W), each with the n input channels that it provides.
        """
        convolution, norm, activation = self
        assert isinstance(convolution, nn.Conv2d)
        weight = convolution.weight
        sums = [F.conv2d(x, weight[:, channels], None, convolution.stride, 1) for x, channels in parts]
        return activation(norm(sum(sums[1:], sums[0])))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (B, channels, H, W)."""
        return F.relu(x + self.second(self.first(x)))


class UNet(nn.Module):
    """U-Net; each level after the first halves height and width.

    Args:
        inputs: number of input channels.
        widths: channels of each level, largest size first.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = ConvNormRelu(inputs, widths[0])
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(ConvNormRelu(a, b, stride=2), ResidualBlock(b)) for a, b in pairs)
        self.up = nn.ModuleList(ConvNormRelu(a + b, a) for a, b in reversed(pairs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, widths[0], H, W)."""
        return self.forward_levels(self.enter(cat_channels_last(x)))

    def forward_levels(self, x: Tensor) -> Tensor:
        """Apply everything after `enter`; keep the shape (B, widths[0], H, W)."""
        levels = [x]
        for block in self.down:
            levels.append(block(levels[-1]))

        x = levels.pop()
        for block in self.up:
            x = block(cat_channels_last(upsample_2x(x), levels.pop()))
        return x


def cat_channels_last(*maps: Tensor) -> Tensor:
    """Concatenate maps, (B, C, H, W), in the memory format `channels_last`, which makes convolutions faster."""
    channels_last = [x.contiguous(memory_format=torch.channels_last) for x in maps]
    return torch.cat(channels_last, 1) if len(channels_last) > 1 else channels_last[0]


def upsample_2x(x: Tensor) -> Tensor:
    """Double height and width, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def pixel_centers(size: int, device: torch.device) -> Tensor:
    """Return (x, y) of the pixel centers of a square image, borders at -1 and 1, shape (size, size, 2)."""
    axis = (torch.arange(size, device=device) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)


def gaussian_heatmaps(points: Tensor, size: int, sigma: float) -> Tensor:
    """Return a map per point with a Gaussian of height 1, shape (B, K, size, size), channels last.

    Points, (B, K, 2 or 3), have x and y in [-1, 1]; `sigma` is the standard deviation in the same unit.
    """
    axis = pixel_centers(size, points.device)[0, :, :1]
    x = torch.exp(-((axis - points[:, None, :, 0]) ** 2) / (2 * sigma**2))  # (B, size, K)
    y = torch.exp(-((axis - points[:, None, :, 1]) ** 2) / (2 * sigma**2))
    return (y[:, :, None] * x[:, None]).permute(0, 3, 1, 2)


def sample_at(image: Tensor, positions: Tensor) -> Tensor:
    """Sample an image, (1 or B, C, H, W), bilinearly, with border padding, at x and y in [-1, 1], (B, h, w, 2)."""
    images = image.expand(len(positions), -1, -1, -1)
    return F.grid_sample(images, positions, align_corners=False, padding_mode="border")
