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
    """Each head takes a few samples around a query's place in every level, and weighs them.

    Args:
        dim: width of queries and values.
        heads: of the attention.
        levels: feature maps.
        points: samples that a head takes in each level.
    """

    def __init__(self, dim: int, *, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, places: Tensor, value: Tensor, shapes: Shapes) -> Tensor:
        """Attends from places in the picture.

        Args:
            query: shape (B, Q, dim).
            places: shape (B, Q, 2), x and y, or (B, Q, 4), x, y, width and height of a box; each from 0 to 1. Offsets
                are counted in cells of a level, or in eighths of a box with four points.
            value: all cells of all levels, shape (B, cells, dim).
            shapes: height and width of each level.

        Returns:
            shape (B, Q, dim).
        """
        values = self.value_proj(value).float().unflatten(-1, (self.heads, -1))  # (B, cells, heads, d)
        table = SampleTable.build(values, shapes, points=self.points)
        # All steps to the right before all steps down: what belongs together then lies together in memory.
        weight, bias = (
            parameter.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
            for parameter in (self.sampling_offsets.weight, self.sampling_offsets.bias)
        )

        def attend(query: Tensor, places: Tensor, first_row: Tensor) -> Tensor:
            offsets = F.linear(query, weight, bias)  # (rows, 2 * heads * levels * points)
            shares = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
            with full_precision(query):
                return table.sample(places.float(), offsets.float(), shares.float(), first_row)

        first_row = table.rows * torch.arange(len(query), device=query.device, dtype=torch.int32)
        return self.output_proj(
            apply_in_slices(attend, query, places, first_row[:, None, None].expand(-1, query.shape[1], 1))
        )


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Feature maps from which weighted sums of bilinear samples are taken; they are zero outside.

    Such a sum is a weighted sum of rows of a table, four rows a sample. `embedding_bag` computes it in one pass with
    the channels of a head next to each other in memory, where `grid_sample` would want them plane by plane and would
    store every sample. Each map has a border of zeros, so a sample needs no test of being inside.

    Args:
        values: shape (B * rows, heads, d).
        rows: of the table of one picture.
        points: samples that a head takes in each map.
        limit_x: width of the map for each sample of a query, shape (heads * levels * points,).
        limit_y: height of the map, like `limit_x`.
        start: first row of the map, like `limit_x`.
    """

    values: Tensor
    rows: int
    points: int
    limit_x: Tensor
    limit_y: Tensor
    start: Tensor

    @classmethod
    def build(cls, values: Tensor, shapes: Shapes, *, points: int) -> SampleTable:
        """Puts a border of zeros around every map.

        Args:
            values: shape (B, cells, heads, d).
            shapes: height and width of each map.
            points: samples that a head takes in each map.
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

    def sample(self, places: Tensor, offsets: Tensor, shares: Tensor, first_row: Tensor) -> Tensor:
        """Weighted sums of samples.

        Args:
            places: shape (Q, 2 or 4), as in `DeformableAttention.forward`.
            offsets: shape (Q, 2 * heads * levels * points), those in x before those in y.
            shares: weights of the samples, shape (Q, heads, levels * points).
            first_row: of the picture that each query belongs to, int32, shape (Q, 1).

        Returns:
            shape (Q, heads * d).
        """
        heads, d = self.values.shape[1:]
        right, down = offsets.chunk(2, dim=1)  # (Q, samples)
        if places.shape[1] == 4:
            reach = 0.5 / self.points  # of a step of 1, in sides of the box
            right = right * (places[:, 2:3] * (reach * self.limit_x))
            down = down * (places[:, 3:4] * (reach * self.limit_y))
        # Cells with the border counted: the centre of the first is 1.
        x = torch.addcmul(right, places[:, 0:1], self.limit_x) + 0.5
        y = torch.addcmul(down, places[:, 1:2], self.limit_y) + 0.5
        x, y = torch.minimum(x.clamp(min=0), self.limit_x + 1), torch.minimum(y.clamp(min=0), self.limit_y + 1)
        left, top = torch.minimum(x.floor(), self.limit_x), torch.minimum(y.floor(), self.limit_y)

        corner = torch.addcmul(left + self.start, top, self.limit_x + 2).int()  # exact: fewer than 2^24 rows a picture
        number = torch.arange(heads, device=places.device, dtype=torch.int32).repeat_interleave(shares.shape[2])
        upper_left = ((corner + first_row) * heads + number).view_as(shares)
        lower_left = upper_left + ((self.limit_x + 2).int() * heads).view_as(shares[0])
        rows = torch.cat([upper_left, upper_left + heads, lower_left, lower_left + heads], dim=-1)

        to_right, to_bottom = (x - left).view_as(shares), (y - top).view_as(shares)
        lower = shares * to_bottom
        upper = shares - lower
        upper_right, lower_right = upper * to_right, lower * to_right
        parts = torch.cat([upper - upper_right, upper_right, lower - lower_right, lower_right], dim=-1)
        bags = F.embedding_bag(
            rows.flatten(0, 1), self.values.flatten(0, 1), mode="sum", per_sample_weights=parts.flatten(0, 1)
        )  # (Q * heads, d)
        return bags.view(-1, heads * d)
