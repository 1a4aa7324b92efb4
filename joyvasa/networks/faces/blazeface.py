"""BlazeFace: detection of faces at short and at full range (Bazarevsky et al. 2019, arXiv:1907.05047).

The networks are convolutional and accept pictures of any size that is a multiple of 32 pixels. The sizes at which they
were trained, and from which their names come, are 128 pixels for short range and 192 pixels for full range.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.faces.blocks import BlazeBlock, SameConv2d, chain

POINTS = 6  # right and left eye of the person, nose, mouth, right and left ear
VALUES = 4 + 2 * POINTS  # center and size of the box, then the points

# Output channels and stride of each block.
_SHORT_FINE = ((24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1), (72, 1), (80, 1), (88, 1))
_SHORT_COARSE = ((96, 2), (96, 1), (96, 1), (96, 1), (96, 1))
# Output channels, stride and hidden channels of each block of the backbone, by level: 1/4, 1/8, 1/16, 1/32.
_FULL_LEVELS = (
    ((32, 1, 8), (32, 1, 8), (48, 2, 12), (48, 1, 12), (64, 1, 16)),
    ((96, 2, 24), (128, 1, 32), (128, 1, 32)),
    ((144, 2, 36), (192, 1, 48), (256, 1, 64)),
    ((384, 2, 96), (384, 1, 96), (384, 1, 96), (384, 1, 96)),
)
# Channels, hidden channels and number of blocks of the levels that are merged top down.
_FULL_MERGED = ((96, 48, 2), (64, 32, 2), (48, 24, 1))


@dataclass(frozen=True, kw_only=True)
class BlazeFaceConfig(NetworkConfig):
    """The networks have no options."""


class ShortRange(nn.Module):
    """Detector for faces of at least a seventh of the picture: two anchors per cell of 8 pixels, six per 16 pixels."""

    anchors = ((8, 2), (16, 6))  # stride in pixels and anchors per cell, in the order of the outputs

    def __init__(self, config: BlazeFaceConfig | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 24, 5, stride=2), nn.ReLU(inplace=True))
        self.fine = nn.Sequential(*chain(24, _SHORT_FINE))
        self.coarse = nn.Sequential(*chain(88, _SHORT_COARSE))
        self.values = nn.ModuleList([nn.Conv2d(88, 2 * VALUES, 1), nn.Conv2d(96, 6 * VALUES, 1)])
        self.scores = nn.ModuleList([nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score faces at all anchors.

        Args:
            images: RGB in [-1, 1], shape (batch, 3, height, width).

        Returns:
            Box (center and size, relative to the anchor) and six points (relative to the anchor), x and y in pixels of
            the input, shape (batch, anchors, 16); and logits of a face, shape (batch, anchors).
        """
        fine = self.fine(self.stem(images))
        levels = [fine, self.coarse(fine)]
        return _read(self.values, self.scores, levels)


class FullRange(nn.Module):
    """Detector for faces from a sixteenth of the picture, with a feature pyramid: one anchor per cell of 4 pixels."""

    anchors = ((4, 1),)

    def __init__(self, config: BlazeFaceConfig | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 32, 3, stride=2), nn.ReLU(inplace=True))
        self.levels = nn.ModuleList()
        channels, widths = 32, []
        for level in _FULL_LEVELS:
            self.levels.append(nn.Sequential(*chain(channels, level)))
            channels = level[-1][0]
            widths.append(channels)

        self.merged = nn.ModuleList()
        for (outputs, hidden, count), width in zip(_FULL_MERGED, widths[-2::-1], strict=True):
            self.merged.append(_MergedLevel(channels, width, outputs, hidden=hidden, blocks=count))
            channels = outputs
        self.values = nn.ModuleList([nn.Conv2d(channels, VALUES, 1)])
        self.scores = nn.ModuleList([nn.Conv2d(channels, 1, 1)])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score faces at all anchors; see `ShortRange.forward`."""
        x, features = self.stem(images), []
        for level in self.levels:
            x = level(x)
            features.append(x)
        for merged, fine in zip(self.merged, features[-2::-1], strict=True):
            x = merged(x, fine)
        return _read(self.values, self.scores, [x])


class _MergedLevel(nn.Module):
    """Add the coarser level to a finer one and refine the sum."""

    def __init__(self, coarse: int, fine: int, outputs: int, *, hidden: int, blocks: int) -> None:
        super().__init__()
        self.coarse, self.fine = (
            nn.Sequential(nn.Conv2d(n, outputs, 1), nn.ReLU(inplace=True)) for n in (coarse, fine)
        )
        self.blocks = nn.Sequential(*(BlazeBlock(outputs, outputs, hidden=hidden) for _ in range(blocks)))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        upsampled = F.interpolate(self.coarse(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        return self.blocks(self.fine(fine) + upsampled)


def _read(values: nn.ModuleList, scores: nn.ModuleList, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    rows = [head(x).permute(0, 2, 3, 1).flatten(1) for head, x in zip(values, levels, strict=True)]
    logits = [head(x).permute(0, 2, 3, 1).flatten(1) for head, x in zip(scores, levels, strict=True)]
    return torch.cat(rows, dim=1).unflatten(1, (-1, VALUES)), torch.cat(logits, dim=1)
