"""Positions in an image: sine encodings, logits and coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from joyvasa.networks.layers import full_precision

Shapes = Sequence[tuple[int, int]]  # height and width of each level

MAP_TEMPERATURE = 20  # of the position encoding of feature maps (DINO, arXiv:2203.03605)
BOX_TEMPERATURE = 10_000  # of the position encoding of boxes (Vaswani et al. 2017)
LOGIT_LIMIT = 1e-3  # minimum distance of coordinates from 0 and 1 in `logit`


def sine_encoding(values: Tensor, *, dim: int, temperature: float) -> Tensor:
    """Encode numbers in [0, 1] as sines (even indices) and cosines (odd indices) of decreasing frequency.

    Args:
        values: numbers, any shape.
        dim: even width of the encoding of one number.
        temperature: ratio of the highest to the lowest frequency.

    Returns:
        Encodings, shape (..., dim), float32.
    """
    with full_precision(values):
        exponents = torch.arange(0, dim, 2, device=values.device) / dim
        angles = values.float()[..., None] * (2 * math.pi / temperature**exponents)
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def map_encoding(height: int, width: int, *, dim: int, device: torch.device) -> Tensor:
    """Return the position encodings of the cells of a feature map, row by row, (height * width, dim).

    The first half of each encodes y, the second x.
    """
    # As in the published code, cells are counted from 1 and the quotient is slightly below 1.
    y, x = ((torch.arange(size, device=device) + 1) / (size + 1e-6) for size in (height, width))
    half = {"dim": dim // 2, "temperature": MAP_TEMPERATURE}
    rows = sine_encoding(y, **half)[:, None].expand(-1, width, -1)
    columns = sine_encoding(x, **half)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def box_encoding(boxes: Tensor, *, dim: int) -> Tensor:
    """Return the position encodings of boxes in the order y, x, width, height, shape (..., 4 * dim).

    Args:
        boxes: center x, center y, width and height in [0, 1], shape (..., 4).
        dim: even width of the encoding of one number.
    """
    ordered = torch.stack([boxes[..., axis] for axis in (1, 0, 2, 3)], dim=-1)
    return sine_encoding(ordered, dim=dim, temperature=BOX_TEMPERATURE).flatten(-2)


def logit(values: Tensor) -> Tensor:
    """Return the inverse of the sigmoid, finite for 0 and 1."""
    values = values.clamp(0, 1)
    return torch.log(values.clamp(min=LOGIT_LIMIT) / (1 - values).clamp(min=LOGIT_LIMIT))


def cell_centers(shapes: Shapes, *, device: torch.device) -> Tensor:
    """Return the centers of the cells of all levels, x and y in [0, 1], shape (cells, 2).

    Levels, of which `shapes` has height and width, follow each other, each row by row.
    """
    levels = []
    for height, width in shapes:
        y, x = ((torch.arange(size, device=device) + 0.5) / size for size in (height, width))
        y, x = torch.meshgrid(y, x, indexing="ij")
        levels.append(torch.stack([x, y], dim=-1).flatten(0, 1))
    return torch.cat(levels)
