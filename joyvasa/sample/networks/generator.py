"""G of the compact family: keeps the warped pixels and paints what no warp can know."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.sample.networks.appearance import FOLD, PIXEL_CHANNELS
from joyvasa.sample.networks.layers import ConvNormRelu, ResidualBlock, cat_channels_last
from joyvasa.sample.networks.points import FINE
from joyvasa.sample.networks.teeth import GUIDES, LINE_TONE, LOWER_TONE

INITIAL_BRUSH_BIAS = -2.0  # bias of the brush before training
DRY = 0.02  # a brush that paints less paints nothing: what stands still does so to the last bit


@dataclass(frozen=True, kw_only=True)
class CompactGeneratorConfig(NetworkConfig):
    """Sizes."""

    channels: int = PIXEL_CHANNELS + 32 + len(FINE) + 16 + 4  # of what the warping module gives, but for the teeth
    width: int = 64  # at a quarter of the picture's side
    fine_width: int = 32  # at half of it
    blocks: int = 2


class CompactGenerator(nn.Module):
    """What the warping module gives -> picture.

    Args:
        config: sizes.
    """

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
        """Paints.

        Args:
            feature: `out` of the warping module, shape (B, channels + 48, N, N).

        Returns:
            shape (B, 3, 4N, 4N) in [0, 1].
        """
        return self.forward_layers(feature)[0]

    def forward_layers(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The picture, the warped pixels under it, and how much of each pixel is painted, (B, 1, 4N, 4N)."""
        feature, guides = feature.split([feature.shape[1] - GUIDES * FOLD**2, GUIDES * FOLD**2], 1)
        pixels = pixel_shuffle(feature[:, :PIXEL_CHANNELS], FOLD)  # (B, 3, 4N, 4N)
        coarse = self.blocks(self.enter(cat_channels_last(feature)))  # (B, width, N, N)
        below = (pixel_unshuffle(pixels, 2) * 2 - 1).to(coarse.dtype)
        x = cat_channels_last(below, pixel_shuffle(self.grow(coarse), 2))  # (B, 12 + fine, 2N, 2N)
        painted = self.paint(self.fine(self.merge(x))).float()  # (B, 16, 2N, 2N)
        colour, brush = torch.sigmoid(pixel_shuffle(painted, 2)).split([3, 1], 1)
        colour = _with_teeth(colour, torch.sigmoid(self.teeth(coarse).float()), guides)
        brush = (brush - DRY).clamp(min=0) / (1 - DRY)
        return pixels + brush * (colour - pixels), pixels, brush


def _with_teeth(colour: Tensor, tone: Tensor, guides: Tensor) -> Tensor:
    """Teeth laid over a cavity, (B, 3, 4N, 4N).

    Args:
        colour: the cavity.
        tone: colour of teeth, and how much of the upper and lower ones is seen, (B, 5, N, N) in 0 to 1.
        guides: of `teeth`, (B, 48, N, N).
    """
    white, upper_seen, lower_seen = interpolate(tone, scale_factor=FOLD, mode="bilinear").split([3, 1, 1], 1)
    upper, lines, lower = pixel_shuffle(cat_channels_last(guides), FOLD).split(1, 1)
    colour = colour + lower_seen * lower * (LOWER_TONE * white - colour)
    return colour + upper_seen * upper * ((1 - LINE_TONE * lines) * white - colour)
