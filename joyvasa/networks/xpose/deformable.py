"""Multi-scale deformable attention (Zhu et al. 2021, "Deformable DETR", arXiv:2010.04159)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.layers import full_precision
from joyvasa.networks.xpose.layers import apply_in_slices
from joyvasa.networks.xpose.positions import Shapes


class DeformableAttention(nn.Module):
    """Attention in which each head samples a few points around the position of a query in every level."""

    def __init__(self, dim: int, *, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, positions: Tensor, value: Tensor, shapes: Shapes) -> Tensor:
        """Attend to samples around positions in the image.

        Args:
            query: queries, shape (B, Q, dim).
            positions: points (x, y), shape (B, Q, 2), or boxes (x, y, width, height), shape (B, Q, 4), in [0, 1]. The
                unit of sampling offsets is a cell of a level for points, and size / (2 * points) for boxes.
            value: cells of all levels, shape (B, cells, dim).
            shapes: height and width of each level.

        Returns:
            Attended values, shape (B, Q, dim).
        """
        values = self.value_proj(value).float().unflatten(-1, (self.heads, -1))  # (B, cells, heads, d)
        table = SampleTable.build(values, shapes, points=self.points)
        # All x offsets before all y offsets, so that each kind is contiguous in memory.
        weight, bias = (
            parameter.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
            for parameter in (self.sampling_offsets.weight, self.sampling_offsets.bias)
        )

        def attend(query: Tensor, positions: Tensor, first_row: Tensor) -> Tensor:
            offsets = F.linear(query, weight, bias)  # (rows, 2 * heads * levels * points)
            weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
            with full_precision(query):
                return table.sample(positions.float(), offsets.float(), weights.float(), first_row)

        first_row = table.rows * torch.arange(len(query), device=query.device, dtype=torch.int32)
        return self.output_proj(
            apply_in_slices(attend, query, positions, first_row[:, None, None].expand(-1, query.shape[1], 1))
        )


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Table of feature maps for weighted sums of bilinear samples, zero outside of the maps.

    Such a sum is a weighted sum of table rows, four per sample. `embedding_bag` computes it in one pass with the
    channels of a head contiguous in memory, whereas `grid_sample` needs separate planes and stores every sample. Each
    map has a border of zeros, so that no sample needs a bounds check.
    """

    values: Tensor  # rows of the table, shape (B * rows, heads, d)
    rows: int  # number of rows per image
    points: int  # samples per head and map
    limit_x: Tensor  # width of the map of each sample, shape (heads * levels * points,)
    limit_y: Tensor  # height of the map of each sample, like `limit_x`
    start: Tensor  # first row of the map of each sample, like `limit_x`

    @classmethod
    def build(cls, values: Tensor, shapes: Shapes, *, points: int) -> SampleTable:
        """Build a table, with a border of zeros around each map.

        Args:
            values: cells of all maps, shape (B, cells, heads, d).
            shapes: height and width of each map.
            points: samples per head and map.
        """
        *starts, rows = accumulate(((height + 2) * (width + 2) for height, width in shapes), initial=0)
        table = values.new_zeros(values.shape[0], rows, *values.shape[2:])
        maps = values.split([height * width for height, width in shapes], dim=1)
        for cells, start, (height, width) in zip(maps, starts, shapes, strict=True):
            bordered = table[:, start : start + (height + 2) * (width + 2)].unflatten(1, (height + 2, width + 2))
            bordered[:, 1:-1, 1:-1] = cells.unflatten(1, (height, width))

        limits = [(width, height, start) for (height, width), start in zip(shapes, starts, strict=True)]
        samples = values.new_tensor(limits).repeat_interleave(points, dim=0).repeat(values.shape[2], 1)
        limit_x, limit_y, first = samples.unbind(1)
        return cls(table.flatten(0, 1), rows, points, limit_x, limit_y, first)

    def sample(self, positions: Tensor, offsets: Tensor, weights: Tensor, first_row: Tensor) -> Tensor:
        """Compute weighted sums of bilinear samples.

        Args:
            positions: positions of the queries, shape (Q, 2 or 4), see `DeformableAttention.forward`.
            offsets: offsets of the samples, x before y, shape (Q, 2 * heads * levels * points).
            weights: weights of the samples, shape (Q, heads, levels * points).
            first_row: first table row of each query's image, shape (Q, 1), int32.

        Returns:
            Sums, shape (Q, heads * d).
        """
        heads, d = self.values.shape[1:]
        right, down = offsets.chunk(2, dim=1)  # (Q, samples)
        if positions.shape[1] == 4:
            unit = 0.5 / self.points  # of an offset, relative to the size of the box
            right = right * (positions[:, 2:3] * (unit * self.limit_x))
            down = down * (positions[:, 3:4] * (unit * self.limit_y))
        # Cells including the border: the center of the first inner cell is 1.
        x = torch.addcmul(right, positions[:, 0:1], self.limit_x) + 0.5
        y = torch.addcmul(down, positions[:, 1:2], self.limit_y) + 0.5
        x, y = torch.minimum(x.clamp(min=0), self.limit_x + 1), torch.minimum(y.clamp(min=0), self.limit_y + 1)
        left, top = torch.minimum(x.floor(), self.limit_x), torch.minimum(y.floor(), self.limit_y)

        corner = torch.addcmul(left + self.start, top, self.limit_x + 2).int()  # exact: fewer than 2^24 rows per image
        head = torch.arange(heads, device=positions.device, dtype=torch.int32).repeat_interleave(weights.shape[2])
        upper_left = ((corner + first_row) * heads + head).view_as(weights)
        lower_left = upper_left + ((self.limit_x + 2).int() * heads).view_as(weights[0])
        rows = torch.cat([upper_left, upper_left + heads, lower_left, lower_left + heads], dim=-1)

        to_right, to_bottom = (x - left).view_as(weights), (y - top).view_as(weights)
        lower = weights * to_bottom
        upper = weights - lower
        upper_right, lower_right = upper * to_right, lower * to_right
        corner_weights = torch.cat([upper - upper_right, upper_right, lower - lower_right, lower_right], dim=-1)
        bags = F.embedding_bag(
            rows.flatten(0, 1), self.values.flatten(0, 1), mode="sum", per_sample_weights=corner_weights.flatten(0, 1)
        )  # (Q * heads, d)
        return bags.view(-1, heads * d)
