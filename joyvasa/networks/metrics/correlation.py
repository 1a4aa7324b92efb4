"""All-pairs correlation of two feature maps, looked up around given positions (RAFT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Size of the correlations held in memory at once. All of them, (H/8 · W/8)² numbers, need 4 GB per direction for an
# image of 1920x1080; recomputing them for each of the three lookups costs a tenth of AMT's time.
CHUNK_BYTES = 64 << 20


class AllPairsCorrelation:
    """Pyramid of correlations between the features of two images, in both directions.

    Args:
        first, second: features of the images, shape (batch, channels, height, width).
        levels: number of pyramid levels; each halves the size of the map that is looked up.
        radius: pixels of a level looked up on each side of a position.
    """

    def __init__(self, first: Tensor, second: Tensor, *, levels: int, radius: int) -> None:
        self.first, self.second = _pool_pyramid(first, levels), _pool_pyramid(second, levels)

        steps = torch.arange(-radius, radius + 1, dtype=first.dtype, device=first.device)
        # x varies slowest, as in the training of the published weights.
        self.offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)

        height, width = first.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(height, device=first.device), torch.arange(width, device=first.device), indexing="ij"
        )
        self.grid = torch.stack([x, y]).to(first.dtype)

    def __call__(self, to_first: Tensor, to_second: Tensor) -> Tensor:
        """Look up correlations around the ends of flows.

        Args:
            to_first: flow from the second image to the first, in pixels, shape (batch, 2, height, width).
            to_second: flow from the first image to the second, like `to_first`.

        Returns:
            Correlations, shape (batch, 2 * levels * (2 * radius + 1)², height, width); those of pixels of the first
            image come first.
        """
        forward = self._look_up(self.first[0], self.second, self.grid + to_second)
        backward = self._look_up(self.second[0], self.first, self.grid + to_first)
        return torch.cat([forward, backward], dim=1)

    def _look_up(self, queries: Tensor, keys: list[Tensor], positions: Tensor) -> Tensor:
        batch, channels, height, width = queries.shape
        flat = queries.flatten(2).transpose(1, 2) / channels**0.5  # (B, H·W, C)
        centers = positions.flatten(2).transpose(1, 2)  # (B, H·W, 2)

        chunk = max(1, CHUNK_BYTES // (4 * batch * height * width))
        correlations = [
            torch.cat([self._look_up_level(q, key, c / 2**i) for i, key in enumerate(keys)], dim=-1)
            for q, c in zip(flat.split(chunk, dim=1), centers.split(chunk, dim=1), strict=True)
        ]
        return torch.cat(correlations, dim=1).transpose(1, 2).unflatten(2, (height, width))

    def _look_up_level(self, queries: Tensor, keys: Tensor, centers: Tensor) -> Tensor:
        """Return correlations with one level, shape (batch, pixels, (2 * radius + 1)²), zero beyond the border."""
        height, width = keys.shape[-2:]
        # Correlating with pooled features equals pooling the correlations.
        volume = (queries @ keys.flatten(2)).flatten(0, 1).view(-1, 1, height, width)
        size = torch.tensor([width - 1, height - 1], dtype=centers.dtype, device=centers.device)
        points = 2 * (centers.flatten(0, 1)[:, None] + self.offsets) / size - 1
        values = F.grid_sample(volume, points[:, None], mode="bilinear", padding_mode="zeros", align_corners=True)
        return values.view(*queries.shape[:2], -1)


def _pool_pyramid(features: Tensor, levels: int) -> list[Tensor]:
    pyramid = [features]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid
