"""Computing of results in threads, ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def prefetch_results(make: Callable[[T], U], keys: Iterable[T], *, threads: int, ahead: int) -> Generator[U]:
    """Compute `make(key)` for each key in threads, at most `ahead` of them in advance.

    With `ahead=0`, each result is computed when it is asked for. Keys are read in the caller's thread. Threads are
    sufficient for work that releases the GIL, such as reading, decompression and networks. They end with the iterator.

    Yields:
        Results in the order of the keys.

    Raises:
        Exception: an exception of `make`, at its position in the order.
    """
    queue: deque[Future[U]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        try:
            for key in keys:
                queue.append(pool.submit(make, key))
                if len(queue) > ahead:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            for future in queue:
                future.cancel()
