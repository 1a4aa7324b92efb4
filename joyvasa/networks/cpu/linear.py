"""Linear layers, on the CPU by oneDNN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.dispatch import use_cpu_kernel

# PyTorch multiplies float32 matrices with MKL, which on processors of AMD is up to twice as slow as oneDNN; oneDNN also
# applies the activation before the product leaves the cache. `torch.compile` refuses this operation.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
FEW_ROWS = 64  # below so many, MKL is as fast


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear`.

    Args:
        x: shape (..., inputs).
        weight: shape (outputs, inputs).
        bias: shape (outputs,).
    """
    if _use_onednn(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """A layer that calls `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps (..., inputs) to (..., outputs)."""
        return linear(input, self.weight, self.bias)


class LinearGelu(nn.Linear):
    """A linear layer and its GELU (the exact one)."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps (..., inputs) to (..., outputs)."""
        if _use_onednn(input, self.weight):
            return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "gelu", [], "none")
        return F.gelu(super().forward(input))


def _use_onednn(x: Tensor, weight: Tensor) -> bool:
    usable = _ONEDNN and not torch.compiler.is_compiling()
    return usable and use_cpu_kernel(x, weight) and x.numel() >= FEW_ROWS * x.shape[-1]
