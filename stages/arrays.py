"""Conversion between tensors, used within stages, and NumPy arrays, used in payloads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as an array that is not a view of a larger one, so that no other data is pickled with it."""
    array = tensor.detach().cpu().contiguous().numpy()
    return array if array.base is None or tensor.untyped_storage().nbytes() == array.nbytes else array.copy()


def to_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Return an array as a tensor; read-only arrays, such as those from an object store, are copied."""
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
