"""Tasks that wait for a worker, grouped into batches."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable

from pipelines.engine.graph import StageSpec
from pipelines.engine.tasks import StageTask


class StageQueue:
    """The queue of one stage.

    New tasks wait by bucket until a batch is full, or they have waited long enough. Groups that are retried after a
    failure stay together, go first, and get a worker to themselves: if it crashes there is no doubt about the batch.
    Groups with a back-off wait aside until their delay is over.
    """

    def __init__(self, spec: StageSpec) -> None:
        self._spec = spec
        self._buckets: dict[Hashable, deque[StageTask]] = {}
        self._returned: deque[list[StageTask]] = deque()
        self._delayed: list[tuple[float, int, list[StageTask]]] = []
        self._order = itertools.count()
        self._n_tasks = 0

    def __len__(self) -> int:
        return self._n_tasks

    def put(self, task: StageTask) -> None:
        """Add a new task."""
        self._n_tasks += 1
        self._buckets.setdefault(task.bucket, deque()).append(task)

    def put_back(self, group: list[StageTask], until: float | None = None) -> None:
        """Add tasks to be run together and with no others.

        Args:
            group: tasks of the batch.
            until: earliest time of the retry.
        """
        self._n_tasks += len(group)
        if until is None:
            self._returned.append(group)
        else:
            heapq.heappush(self._delayed, (until, next(self._order), group))

    def pop_due(self, now: float) -> list[StageTask] | None:
        """Return a group whose delay is over."""
        if not self._delayed or self._delayed[0][0] > now:
            return None
        return self._remove(heapq.heappop(self._delayed)[2])

    def next_batch(self, now: float, *, more_coming: bool, worker_idle: bool) -> tuple[list[StageTask], bool] | None:
        """Return the next batch, if one should start now, and whether it must have its worker to itself.

        Args:
            now: current time.
            more_coming: whether other records may still fill a batch.
            worker_idle: whether a worker is idle. Only an idle worker gets a batch that is not full: any other could
                not start it yet, and it may still fill.
        """
        if self._returned:
            return (self._remove(self._returned.popleft()), True) if worker_idle else None
        oldest = None
        for bucket, tasks in self._buckets.items():
            full = len(tasks) >= self._spec.batch_size
            waited = now - tasks[0].waiting_since
            if full or (worker_idle and (not more_coming or waited >= self._spec.batch_wait_s)):
                rank = (not full, tasks[0].waiting_since)
                oldest = min(oldest, (rank, bucket), key=lambda pair: pair[0]) if oldest else (rank, bucket)
        return (self._remove(self._pop(oldest[1])), False) if oldest else None

    def _pop(self, bucket: Hashable) -> list[StageTask]:
        tasks = self._buckets[bucket]
        batch = [tasks.popleft() for _ in range(min(len(tasks), self._spec.batch_size))]
        if not tasks:
            del self._buckets[bucket]
        return batch

    def _remove(self, group: list[StageTask]) -> list[StageTask]:
        self._n_tasks -= len(group)
        return group

    def next_time(self, now: float) -> float | None:
        """Return the time of the next change that needs no event."""
        times = [tasks[0].waiting_since + self._spec.batch_wait_s for tasks in self._buckets.values()]
        if self._delayed:
            times.append(self._delayed[0][0])
        return min((time for time in times if time > now), default=None)
