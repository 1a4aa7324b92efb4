"""Choice between CPU kernels and the usual ones."""

from __future__ import annotations

import torch
from torch import Tensor


def use_cpu_kernel(*tensors: Tensor) -> bool:
    """Return whether an operation on inputs and parameters runs on the CPU, in float32 and without gradients.

    Algorithms with fewer multiplications are faster only in this case: GPUs have their own algorithms, and half
    precision loses too many digits.
    """
    if torch.is_autocast_enabled("cpu") or (
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    ):
        return False
    return all(tensor.device.type == "cpu" and tensor.dtype is torch.float32 for tensor in tensors)
