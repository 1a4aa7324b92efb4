"""The group of processes that train a network together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BUCKET_NUMBERS = 32 << 20  # numbers per all-reduce: 128 MiB of float32


@dataclass(frozen=True)
class WorkerGroup:
    """This process's view of the workers of a run; by default a single process."""

    rank: int = 0  # rank of this process
    size: int = 1  # number of processes

    @classmethod
    def current(cls) -> WorkerGroup:
        """Return the default process group of `torch.distributed`."""
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their sums over all processes, in a few large buckets for speed."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for tensor in tensors:
            if bucket and sum(item.numel() for item in bucket) + tensor.numel() > BUCKET_NUMBERS:
                _all_reduce_bucket(bucket)
                bucket = []
            bucket.append(tensor)
        _all_reduce_bucket(bucket)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)


def _all_reduce_bucket(tensors: list[Tensor]) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
