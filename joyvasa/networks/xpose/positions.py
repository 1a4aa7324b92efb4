"""Places in a picture as sines, logits and plain coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from joyvasa.networks.layers import full_precision

Shapes = Sequence[tuple[int, int]]  # height and width of each level

MAP_TEMPERATURE = 20  # of the code of places in feature maps (DINO, arXiv:2203.03605)
BOX_TEMPERATURE = 10_000  # of the code of boxes (Vaswani et al. 2017)
LOGIT_LIMIT = 1e-3  # nearest that a coordinate comes to 0 and 1 in `logit`


def sine_encoding(values: Tensor, *, dim: int, temperature: float) -> Tensor:
    """Numbers from 0 to 1 as sines (even places) and cosines (odd places) of falling frequency.

    Args:
        values: any shape.
        dim: of each number's code; even.
        temperature: ratio of the highest to the lowest frequency.

    Returns:
        shape (..., dim), float32.
    """
    with full_precision(values):
        exponents = torch.arange(0, dim, 2, device=values.device) / dim
        angles = values.float()[..., None] * (2 * math.pi / temperature**exponents)
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def map_encoding(height: int, width: int, *, dim: int, device: torch.device) -> Tensor:
    """Position code of a feature map.

    Args:
        height: rows.
        width: columns.
        dim: of the code; one half is for y, the other for x.
        device: of the result.

    Returns:
        shape (height * width, dim), row by row.
    """
    # The published code counts from 1 and keeps the quotient from being exactly 1.
    y, x = ((torch.arange(size, device=device) + 1) / (size + 1e-6) for size in (height, width))
    half = {"dim": dim // 2, "temperature": MAP_TEMPERATURE}
    rows = sine_encoding(y, **half)[:, None].expand(-1, width, -1)
    columns = sine_encoding(x, **half)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def box_encoding(boxes: Tensor, *, dim: int) -> Tensor:
    """Position code of boxes.

    Args:
        boxes: shape (..., 4), centre x, y, width, height, each from 0 to 1.
        dim: of the code of one number; even.

    Returns:
        shape (..., 4 dim): y, x, width, height.
    """
    ordered = torch.stack([boxes[..., axis] for axis in (1, 0, 2, 3)], dim=-1)
    return sine_encoding(ordered, dim=dim, temperature=BOX_TEMPERATURE).flatten(-2)


def logit(values: Tensor) -> Tensor:
    """Inverse of the sigmoid, finite for 0 and 1."""
    values = values.clamp(0, 1)
    return torch.log(values.clamp(min=LOGIT_LIMIT) / (1 - values).clamp(min=LOGIT_LIMIT))


def cell_centers(shapes: Shapes, *, device: torch.device) -> Tensor:
    """Centres of all cells of all levels.

    Args:
        shapes: height and width of each level.
        device: of the result.

    Returns:
        shape (cells, 2), x and y from 0 to 1, level by level and row by row.
    """
    levels = []
    for height, width in shapes:
        y, x = ((torch.arange(size, device=device) + 0.5) / size for size in (height, width))
        y, x = torch.meshgrid(y, x, indexing="ij")
        levels.append(torch.stack([x, y], dim=-1).flatten(0, 1))
    return torch.cat(levels)
