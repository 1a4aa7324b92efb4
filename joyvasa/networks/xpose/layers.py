"""What several parts of X-Pose share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

ROWS = 2048  # of a slice: what is computed between its input and its output stays in a processor's cache


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def apply_in_slices(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Applies a function of single rows to many rows, some at a time.

    A picture has tens of thousands of rows, and what a function holds in between is several times its input.

    Args:
        function: of tensors of shape (rows, ...); each row of the result comes from the same rows of the inputs.
        *inputs: each of shape (B, N, ...).

    Returns:
        shape (B, N, ...).
    """
    batch = inputs[0].shape[0]
    slices = zip(*(x.flatten(0, 1).split(ROWS) for x in inputs), strict=True)
    return torch.cat([function(*part) for part in slices]).unflatten(0, (batch, -1))
