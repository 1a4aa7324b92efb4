"""Pieces of the compact networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormRelu(nn.Sequential):
    """3x3 convolution, batch norm, ReLU.

    Args:
        channels_in, channels_out: of the pictures.
        stride: 2 halves the sides.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(True)
        )

    def forward_parts(self, *parts: tuple[Tensor, Sequence[int]]) -> Tensor:
        """The block of pictures whose channels come in parts; one of batch 1 is the same for the whole batch.

        Args:
            parts: pictures, (1 or B, n, H, W), and which channels of the block's input these are, n numbers.
        """
        convolution, norm, activation = self
        assert isinstance(convolution, nn.Conv2d)
        weight = convolution.weight
        sums = [F.conv2d(x, weight[:, channels], None, convolution.stride, 1) for x, channels in parts]
        return activation(norm(sum(sums[1:], sums[0])))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; keeps the shape.

    Args:
        channels: of the pictures.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return F.relu(x + self.second(self.first(x)))


class Pyramid(nn.Module):
    """A U-Net: halves the sides three times or as often as there are widths, and comes back.

    Args:
        channels_in: of the picture.
        widths: channels at each size, the largest size first.
    """

    def __init__(self, channels_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = ConvNormRelu(channels_in, widths[0])
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(ConvNormRelu(a, b, stride=2), ResidualBlock(b)) for a, b in pairs)
        self.up = nn.ModuleList(ConvNormRelu(a + b, a) for a, b in reversed(pairs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, widths[0], H, W)."""
        return self.after(self.enter(cat_channels_last(x)))

    def after(self, x: Tensor) -> Tensor:
        """The rest of it, from what `enter` gives, (B, widths[0], H, W)."""
        levels = [x]
        for block in self.down:
            levels.append(block(levels[-1]))
        x = levels.pop()
        for block in self.up:
            x = block(cat_channels_last(upsample_2x(x), levels.pop()))
        return x


def cat_channels_last(*pictures: Tensor) -> Tensor:
    """Pictures one behind the other, (B, C, H, W), channels innermost in memory: convolutions are faster so."""
    innermost = [picture.contiguous(memory_format=torch.channels_last) for picture in pictures]
    return torch.cat(innermost, 1) if len(innermost) > 1 else innermost[0]


def upsample_2x(x: Tensor) -> Tensor:
    """Doubles the sides, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def pixel_centers(size: int, device: torch.device) -> Tensor:
    """(x, y) of every pixel of a square that spans -1 to 1, shape (size, size, 2)."""
    axis = (torch.arange(size, device=device) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)


def gaussian_heatmaps(points: Tensor, size: int, sigma: float) -> Tensor:
    """A Gaussian of height 1 around each point.

    Args:
        points: shape (B, K, 2 or 3), x and y in -1 to 1.
        size: side of the maps, pixels.
        sigma: standard deviation in the units of the points.

    Returns:
        shape (B, K, size, size), channels last.
    """
    axis = pixel_centers(size, points.device)[0, :, :1]
    x = torch.exp(-((axis - points[:, None, :, 0]) ** 2) / (2 * sigma**2))  # (B, size, K)
    y = torch.exp(-((axis - points[:, None, :, 1]) ** 2) / (2 * sigma**2))
    return (y[:, :, None] * x[:, None]).permute(0, 3, 1, 2)


def sample_at(picture: Tensor, where: Tensor) -> Tensor:
    """Reads a picture bilinearly at other places; its edge goes on outside.

    Args:
        picture: shape (1 or B, C, H, W).
        where: shape (B, h, w, 2), x and y in -1 to 1.

    Returns:
        shape (B, C, h, w).
    """
    return F.grid_sample(picture.expand(len(where), -1, -1, -1), where, align_corners=False, padding_mode="border")
