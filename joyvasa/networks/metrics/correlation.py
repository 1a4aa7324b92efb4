"""How well each pixel of one picture fits each pixel of another, read around given positions (RAFT's all pairs)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the correlations that are there at once. All of them are (H/8 · W/8)² numbers, 4 GB for a picture of 1920x1080 and
# each direction; computing them anew for each of the three look-ups costs a tenth of AMT's time.
CHUNK_BYTES = 64 << 20


class AllPairsCorrelation:
    """Correlations of two pictures' features in both directions, in a pyramid.

    Args:
        first, second: features, shape (batch, channels, height, width).
        levels: of the pyramid; each halves the side that is looked up.
        radius: pixels of a level on each side of a position.
    """

    def __init__(self, first: Tensor, second: Tensor, *, levels: int, radius: int) -> None:
        self.first, self.second = _pooled(first, levels), _pooled(second, levels)
        steps = torch.arange(-radius, radius + 1, dtype=first.dtype, device=first.device)
        # x varies slowest: the order that the published weights were trained with.
        self.offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)
        height, width = first.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(height, device=first.device), torch.arange(width, device=first.device), indexing="ij"
        )
        self.grid = torch.stack([x, y]).to(first.dtype)

    def __call__(self, to_first: Tensor, to_second: Tensor) -> Tensor:
        """Correlations around where pixels go.

        Args:
            to_first: way of the second picture's pixels into the first, pixels, shape (batch, 2, height, width).
            to_second: way of the first picture's pixels into the second.

        Returns:
            shape (batch, 2 * levels * (2 * radius + 1)², height, width), those of the first picture's pixels first.
        """
        forth = self._look_up(self.first[0], self.second, self.grid + to_second)
        back = self._look_up(self.second[0], self.first, self.grid + to_first)
        return torch.cat([forth, back], dim=1)

    def _look_up(self, queries: Tensor, keys: list[Tensor], positions: Tensor) -> Tensor:
        batch, channels, height, width = queries.shape
        flat = queries.flatten(2).transpose(1, 2) / channels**0.5  # (B, H·W, C)
        centres = positions.flatten(2).transpose(1, 2)  # (B, H·W, 2)
        chunk = max(1, CHUNK_BYTES // (4 * batch * height * width))
        found = [
            torch.cat([self._of_level(q, key, c / 2**i) for i, key in enumerate(keys)], dim=-1)
            for q, c in zip(flat.split(chunk, dim=1), centres.split(chunk, dim=1), strict=True)
        ]
        return torch.cat(found, dim=1).transpose(1, 2).unflatten(2, (height, width))

    def _of_level(self, queries: Tensor, keys: Tensor, centres: Tensor) -> Tensor:
        """Of some pixels, shape (batch, pixels, (2 * radius + 1)²); zero beyond the border."""
        height, width = keys.shape[-2:]
        # Pooling correlations is correlating with pooled features: both are sums.
        volume = (queries @ keys.flatten(2)).flatten(0, 1).view(-1, 1, height, width)
        size = torch.tensor([width - 1, height - 1], dtype=centres.dtype, device=centres.device)
        points = 2 * (centres.flatten(0, 1)[:, None] + self.offsets) / size - 1
        values = F.grid_sample(volume, points[:, None], mode="bilinear", padding_mode="zeros", align_corners=True)
        return values.view(*queries.shape[:2], -1)


def _pooled(features: Tensor, levels: int) -> list[Tensor]:
    pyramid = [features]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid
