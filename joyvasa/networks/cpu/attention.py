"""Attention layers of the denoising network with input projections by oneDNN."""

from __future__ import annotations

from torch import Tensor

from joyvasa.networks.cpu.linear import linear
from joyvasa.networks.denoising_network import AlignedAttention, SelfAttention


class FastSelfAttention(SelfAttention):
    """`SelfAttention` that projects its input by `linear`."""

    def project(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Apply rows of the input projection."""
        return linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])


class FastAlignedAttention(FastSelfAttention, AlignedAttention):
    """`AlignedAttention` that projects its input by `linear`."""
