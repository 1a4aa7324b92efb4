"""Makes batches ahead of the training loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def prefetch_results(make: Callable[[T], U], keys: Iterable[T], *, threads: int, ahead: int) -> Generator[U]:
    """What `make` gives for each key, in order, made by threads before it is asked for.

    Threads are enough: reading, unpacking and drawing run outside of Python's lock. Never more than
    `ahead` results wait. The threads end with the iterator.

    Args:
        make: called in threads.
        keys: read as needed, in the caller's thread.
        threads: how many.
        ahead: results that may wait.

    Yields:
        results in the order of the keys.

    Raises:
        Exception: whatever `make` raises, at its place in the order.
    """
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="loader") as pool:
        try:
            for key in keys:
                waiting.append(pool.submit(make, key))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
