"""Cache of tensors derived from weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class TensorCache:
    """Cache of one tensor computed from source tensors; valid until a source is replaced, moved or written to."""

    def __init__(self) -> None:
        self._key: Hashable | None = None
        self._sources: tuple[Tensor, ...] = ()  # references, so that their addresses are not reused
        self._value: Tensor | None = None

    def get(self, sources: tuple[Tensor, ...], compute: Callable[[], Tensor], *, options: Hashable = None) -> Tensor:
        """Return the cached tensor, or compute it; it depends on the source tensors and the options.

        It is not cached if gradients are required, because it is then part of the graph.
        """
        # Inference tensors have no version counter.
        if any(source.is_inference() or source.is_meta for source in sources):
            return compute()
        if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
            return compute()

        key = options, *((source.data_ptr(), source._version, source.dtype, source.device) for source in sources)
        if self._value is None or key != self._key:
            with torch.inference_mode(False), torch.no_grad():  # usable in any mode
                self._value = compute()
            self._key, self._sources = key, tuple(source.detach() for source in sources)
        return self._value
