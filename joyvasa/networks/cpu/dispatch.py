"""Where algorithms with fewer multiplications than the usual ones pay."""

from __future__ import annotations

import torch
from torch import Tensor


def use_cpu_kernel(*tensors: Tensor) -> bool:
    """Whether an operation is to be computed on the CPU, in float32, and without a graph for gradients.

    There, algorithms with fewer multiplications pay: graphics cards have their own, and half precision loses digits.
    """
    if torch.is_autocast_enabled("cpu") or (
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    ):
        return False
    return all(tensor.device.type == "cpu" and tensor.dtype is torch.float32 for tensor in tensors)
