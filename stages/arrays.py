"""NumPy arrays between stages, tensors within them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_array(tensor: Tensor) -> np.ndarray:
    """The tensor as an array of its own: no part of a larger one, so that nothing else travels with it."""
    array = tensor.detach().cpu().contiguous().numpy()
    return array if array.base is None or tensor.untyped_storage().nbytes() == array.nbytes else array.copy()


def to_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """The array as a tensor; copied where it is read-only, as what comes from an object store is."""
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
