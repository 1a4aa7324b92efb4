"""Results that many records share, computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from pipelines.engine.tasks import Payload, Rejection, StageTask


class SharedResults:
    """The results of one stage by content key: running tasks, and a bounded cache of results.

    The least recently used are evicted first. A failure is cached like a result, so that a portrait that crashes its
    worker crashes two and not two per record. Only references are cached: evicting one does not free a result that a
    record still needs.

    Args:
        max_entries: most results and failures in the cache.
        max_bytes: most bytes of the results in the cache, as far as their size is known.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._running: dict[Hashable, StageTask] = {}
        self._results: OrderedDict[Hashable, Payload | Rejection] = OrderedDict()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._results)

    def find(self, key: Hashable) -> StageTask | Payload | Rejection | None:
        """Return the running task, the result or the failure of a key, or None."""
        if task := self._running.get(key):
            return task
        result = self._results.get(key)
        if isinstance(result, Payload) and result.lost:
            self._forget(key)
            return None
        if result is not None:
            self._results.move_to_end(key)
        return result

    def start(self, key: Hashable, task: StageTask) -> None:
        """Register the task that computes a result."""
        self._running[key] = task

    def finish(self, key: Hashable, result: Payload | Rejection | None) -> None:
        """Store the result of a task.

        Args:
            key: key of the result.
            result: result or failure to cache; `None` if the next record is to compute it again.
        """
        self._running.pop(key, None)
        if result is None:
            return
        if key in self._results:
            self._forget(key)
        self._results[key] = result
        self.n_bytes += result.n_bytes if isinstance(result, Payload) else 0
        while len(self._results) > self._max_entries or self.n_bytes > self._max_bytes:
            self._forget(next(iter(self._results)))

    def _forget(self, key: Hashable) -> None:
        result = self._results.pop(key)
        self.n_bytes -= result.n_bytes if isinstance(result, Payload) else 0
