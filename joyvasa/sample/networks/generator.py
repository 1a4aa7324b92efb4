"""G of the compact networks: blends warped pixels with painted ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.sample.networks.animal_mouth import color_mouth
from joyvasa.sample.networks.appearance import FOLD, PIXEL_CHANNELS
from joyvasa.sample.networks.layers import ConvNormRelu, ResidualBlock, cat_channels_last
from joyvasa.sample.networks.points import FINE
from joyvasa.sample.networks.teeth import LINE_TONE, LOWER_TONE, TEETH_MAPS

INITIAL_BRUSH_BIAS = -2.0  # paints little before training
BRUSH_THRESHOLD = 0.02  # weaker paint is omitted, so that static content is bit-identical between frames


@dataclass(frozen=True, kw_only=True)
class CompactGeneratorConfig(NetworkConfig):
    """Sizes."""

    channels: int = PIXEL_CHANNELS + 32 + len(FINE) + 16 + 4  # of the warping module's output without teeth
    width: int = 64  # channels at a quarter of the image size
    fine_width: int = 32  # channels at half of the image size
    blocks: int = 2


class CompactGenerator(nn.Module):
    """Generator of the image from the output of the warping module."""

    def __init__(self, config: CompactGeneratorConfig) -> None:
        super().__init__()
        self.enter = ConvNormRelu(config.channels, config.width)
        self.blocks = nn.Sequential(*(ResidualBlock(config.width) for _ in range(config.blocks)))
        self.grow = nn.Conv2d(config.width, 4 * config.fine_width, 1)
        self.merge = ConvNormRelu(12 + config.fine_width, config.fine_width)
        self.fine = ConvNormRelu(config.fine_width, config.fine_width)
        self.paint = nn.Conv2d(config.fine_width, 16, 3, 1, 1)
        self.teeth = nn.Conv2d(config.width, 5, 1)
        nn.init.constant_(self.paint.bias[12:], INITIAL_BRUSH_BIAS)  # type: ignore[index]

    def forward(self, feature: Tensor) -> Tensor:
        """Map `out` of the warping module, (B, channels + 48, N, N), to an RGB image in [0, 1], (B, 3, 4N, 4N)."""
        return self.forward_layers(feature)[0]

    def forward_layers(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the image, the warped pixels, and the opacity of the paint, shape (B, 1, 4N, 4N)."""
        feature, mouth = feature.split([feature.shape[1] - TEETH_MAPS * FOLD**2, TEETH_MAPS * FOLD**2], 1)
        pixels = pixel_shuffle(feature[:, :PIXEL_CHANNELS], FOLD)  # (B, 3, 4N, 4N)
        coarse = self.blocks(self.enter(cat_channels_last(feature)))  # (B, width, N, N)
        background = (pixel_unshuffle(pixels, 2) * 2 - 1).to(coarse.dtype)  # (B, 12, 2N, 2N)
        x = cat_channels_last(background, pixel_shuffle(self.grow(coarse), 2))  # (B, 12 + fine, 2N, 2N)
        painted = self.paint(self.fine(self.merge(x))).float()  # (B, 16, 2N, 2N)

        color, brush = torch.sigmoid(pixel_shuffle(painted, 2)).split([3, 1], 1)  # (B, 3 and 1, 4N, 4N)
        tone = interpolate(torch.sigmoid(self.teeth(coarse).float()), scale_factor=FOLD, mode="bilinear")
        color, brush = self.fill_mouth(color, brush, tone, pixel_shuffle(cat_channels_last(mouth), FOLD), pixels)
        return pixels + brush * (color - pixels), pixels, brush

    def fill_mouth(
        self, color: Tensor, brush: Tensor, tone: Tensor, maps: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Finish the paint with the inside of the mouth.

        Args:
            color: painted colors, shape (B, 3, H, W).
            brush: opacity of the paint before its threshold, shape (B, 1, H, W).
            tone: see `add_teeth`, shape (B, 5, H, W).
            maps: maps of the warping module, shape (B, 3, H, W).
            pixels: warped pixels of the whole image, which may be larger, shape (B, 3, 4N, 4N).

        Returns:
            Colors and opacity.
        """
        return add_teeth(color, tone, maps), threshold_brush(brush)


class CompactAnimalGenerator(CompactGenerator):
    """Generator for animals: that of people, with the mouth of an animal."""

    def fill_mouth(
        self, color: Tensor, brush: Tensor, tone: Tensor, maps: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Finish the paint with a dark cavity and a tongue; see `CompactGenerator.fill_mouth`."""
        return color_mouth(color, threshold_brush(brush), pixels, maps)


def threshold_brush(brush: Tensor) -> Tensor:
    """Return the opacity of the paint, in [0, 1]: 0 below `BRUSH_THRESHOLD`."""
    return (brush - BRUSH_THRESHOLD).clamp(min=0) / (1 - BRUSH_THRESHOLD)


def add_teeth(color: Tensor, tone: Tensor, teeth: Tensor) -> Tensor:
    """Blend teeth over the painted mouth, shape (B, 3, H, W).

    Args:
        color: painted colors, shape (B, 3, H, W).
        tone: color of the teeth and opacity of upper and lower teeth in [0, 1], shape (B, 5, H, W).
        teeth: maps of `draw_teeth_at`, shape (B, 3, H, W).
    """
    white, upper_opacity, lower_opacity = tone.split([3, 1, 1], 1)
    upper, lines, lower = teeth.split(1, 1)
    color = color + lower_opacity * lower * (LOWER_TONE * white - color)
    return color + upper_opacity * upper * ((1 - LINE_TONE * lines) * white - color)
