"""Values that follow from weights, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class TensorCache:
    """A tensor computed from other tensors; kept until one of these is replaced, moved or written to."""

    def __init__(self) -> None:
        self._key: Hashable | None = None
        self._sources: tuple[Tensor, ...] = ()  # held, so that their addresses are not given to others
        self._value: Tensor | None = None

    def get(self, sources: tuple[Tensor, ...], compute: Callable[[], Tensor], *, options: Hashable = None) -> Tensor:
        """The value; computed anew where gradients are wanted, as it is a part of the graph then.

        Args:
            sources: all that the value depends on.
            compute: without arguments.
            options: whatever else it depends on.
        """
        # Tensors made in inference mode do not count what is written to them.
        if any(source.is_inference() or source.is_meta for source in sources):
            return compute()
        if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
            return compute()
        key = options, *((one.data_ptr(), one._version, one.dtype, one.device) for one in sources)
        if self._value is None or key != self._key:
            with torch.inference_mode(False), torch.no_grad():  # of use in any mode
                self._value = compute()
            self._key, self._sources = key, tuple(source.detach() for source in sources)
        return self._value
