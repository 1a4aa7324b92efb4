"""Limits of what the page accepts and stores, and a cache of limited size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of disk, memory and queue; none of them grows with the number of visitors."""

    upload_bytes: int = 64 * MIB  # largest upload
    uploads_bytes: int = 4096 * MIB  # size of the temporary folder above which uploads are refused
    upload_age_s: int = 3600  # age at which an upload is removed
    sound_s: float = 300.0  # longest recording
    max_waiting: int = 16  # pairs in the queue
    results: int = 6  # finished videos to keep for each browser, which shows them side by side
    max_finished: int = 32  # finished videos to keep for all browsers; older ones are removed
    runs: int = 500  # listed run folders
    folders: int = 20_000  # folders searched for runs
    depth: int = 4  # depth below the root to which runs are searched for
    column_bytes: int = 256 * MIB  # memory for cached columns of runs
    poster_bytes: int = 32 * MIB  # memory for posters of videos
    # gallery, table: records per page
    gallery: int = 12
    table: int = 50


class ByteCache(Generic[T]):
    """A thread-safe cache that evicts the least recently used values.

    Args:
        limit: maximum size in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self.n_bytes = limit, 0
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()  # with their sizes
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """Return a cached value, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: T, n_bytes: int) -> None:
        """Add a value of this size."""
        with self._lock:
            if key not in self._values:
                self.n_bytes += n_bytes
                self._values[key] = value, n_bytes
            while self.n_bytes > self._limit:
                self.n_bytes -= self._values.popitem(last=False)[1][1]
