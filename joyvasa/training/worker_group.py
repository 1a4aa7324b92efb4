"""The processes that train one network together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BUCKET_NUMBERS = 32 << 20  # summed at once: 128 MiB of float32


@dataclass(frozen=True)
class WorkerGroup:
    """A process among those of a run; alone unless `torch.distributed` is set up.

    Args:
        rank: of this process.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> WorkerGroup:
        """Of the process group that `torch.distributed` was set up with."""
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replaces float32 tensors by their sums over all processes; in buckets, as few large sums are quick."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for tensor in tensors:
            if bucket and sum(item.numel() for item in bucket) + tensor.numel() > BUCKET_NUMBERS:
                _sum_bucket(bucket)
                bucket = []
            bucket.append(tensor)
        _sum_bucket(bucket)

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)


def _sum_bucket(tensors: list[Tensor]) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
