"""Linear layers for CPUs, using oneDNN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.dispatch import use_cpu_kernel

# PyTorch multiplies float32 matrices with MKL, which is up to twice as slow as oneDNN on AMD processors; oneDNN also
# applies the activation while the product is in the cache. `torch.compile` does not support this operation.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
MIN_ROWS = 64  # with fewer rows MKL is as fast


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply `torch.nn.functional.linear` by the fastest library."""
    if _use_onednn(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """Linear layer that calls `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return linear(input, self.weight, self.bias)


class LinearGelu(nn.Linear):
    """Linear layer followed by an exact GELU."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        if _use_onednn(input, self.weight):
            return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "gelu", [], "none")
        return F.gelu(super().forward(input))


def _use_onednn(x: Tensor, weight: Tensor) -> bool:
    usable = _ONEDNN and not torch.compiler.is_compiling()
    return usable and use_cpu_kernel(x, weight) and x.numel() >= MIN_ROWS * x.shape[-1]
