"""Threads that each compute a whole frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


class FrameThreads:
    """Compute frames of small networks side by side, with as many threads as PyTorch uses.

    Threads that share the operations of one frame would wait for each other after each of them, which is slow beside
    other programs.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def map(self, compute: Callable[[T], U], frames: Iterable[T]) -> list[U]:
        """Return the results of all frames, without gradients and with the autocast of the caller."""
        if torch.get_num_threads() == 1:
            return [compute(frame) for frame in frames]
        if self._pool is None:
            self._pool = _start_threads(torch.get_num_threads())
        precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None

        @torch.inference_mode()
        def compute_alone(frame: T) -> U:
            with torch.autocast("cpu", precision, enabled=precision is not None):
                return compute(frame)

        return list(self._pool.map(compute_alone, frames))


def _start_threads(n: int) -> ThreadPoolExecutor:
    """Start threads whose operations do not use further threads."""
    pool, barrier = ThreadPoolExecutor(n, thread_name_prefix="frame"), Barrier(n)

    def start() -> None:
        torch.get_num_threads()  # a thread takes the number of others at its first operation, which this counts as
        torch.set_num_threads(1)
        barrier.wait()  # so that each thread does this once

    for started in [pool.submit(start) for _ in range(n)]:
        started.result()
    torch.set_num_threads(n)  # new threads get the number that was set last
    return pool
