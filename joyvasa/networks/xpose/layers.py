"""Layers and helpers shared by the parts of X-Pose."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

ROWS = 2048  # per slice, whose intermediate results then fit into a processor's cache


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def apply_in_slices(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Apply a row-wise function to slices of rows.

    An image has tens of thousands of rows, and intermediate results are several times as large as the input.

    Args:
        function: function of tensors of shape (rows, ...) that computes each row of the result from the same rows of
            the inputs.
        *inputs: tensors, shape (B, N, ...).

    Returns:
        Result, shape (B, N, ...).
    """
    batch = inputs[0].shape[0]
    slices = zip(*(x.flatten(0, 1).split(ROWS) for x in inputs), strict=True)
    return torch.cat([function(*tensors) for tensors in slices]).unflatten(0, (batch, -1))
