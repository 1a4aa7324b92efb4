"""Where works wait for a worker, sorted into batches."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable

from pipelines.engine.graph import StageSpec
from pipelines.engine.tasks import Work


class StageQueue:
    """The line in front of one stage.

    New works wait by bucket until a batch is full, or they have waited long enough. Groups that were sent back after
    a failure keep their make-up, go first, and get a worker to themselves: if it dies there is no doubt which batch it
    was at. Groups that must wait (back-off) stand aside until their time.
    """

    def __init__(self, spec: StageSpec) -> None:
        self._spec = spec
        self._buckets: dict[Hashable, deque[Work]] = {}
        self._returned: deque[list[Work]] = deque()
        self._delayed: list[tuple[float, int, list[Work]]] = []
        self._order = itertools.count()
        self._n_works = 0

    def __len__(self) -> int:
        return self._n_works

    def put(self, work: Work) -> None:
        """Adds a new work."""
        self._n_works += 1
        self._buckets.setdefault(work.bucket, deque()).append(work)

    def put_back(self, group: list[Work], until: float | None = None) -> None:
        """Adds works to be run together and with no others.

        Args:
            group: the works.
            until: not before this time.
        """
        self._n_works += len(group)
        if until is None:
            self._returned.append(group)
        else:
            heapq.heappush(self._delayed, (until, next(self._order), group))

    def pop_due(self, now: float) -> list[Work] | None:
        """A group whose time to stand aside is over."""
        if not self._delayed or self._delayed[0][0] > now:
            return None
        return self._leave(heapq.heappop(self._delayed)[2])

    def take(self, now: float, *, more_coming: bool, worker_idle: bool) -> tuple[list[Work], bool] | None:
        """The next batch, if one should start now, and whether it must have its worker to itself.

        Args:
            now: the time.
            more_coming: whether other records may still fill a batch.
            worker_idle: whether a worker has nothing to do. A batch that is not full only goes to such a one: to any
                other it would be no help, and it may yet fill.
        """
        if self._returned:
            return (self._leave(self._returned.popleft()), True) if worker_idle else None
        oldest = None
        for bucket, works in self._buckets.items():
            full = len(works) >= self._spec.batch_size
            waited = now - works[0].waiting_since
            if full or (worker_idle and (not more_coming or waited >= self._spec.batch_wait_s)):
                rank = (not full, works[0].waiting_since)
                oldest = min(oldest, (rank, bucket), key=lambda pair: pair[0]) if oldest else (rank, bucket)
        return (self._leave(self._pop(oldest[1])), False) if oldest else None

    def _pop(self, bucket: Hashable) -> list[Work]:
        works = self._buckets[bucket]
        batch = [works.popleft() for _ in range(min(len(works), self._spec.batch_size))]
        if not works:
            del self._buckets[bucket]
        return batch

    def _leave(self, group: list[Work]) -> list[Work]:
        self._n_works -= len(group)
        return group

    def next_time(self, now: float) -> float | None:
        """When something will change by the mere passing of time."""
        times = [works[0].waiting_since + self._spec.batch_wait_s for works in self._buckets.values()]
        if self._delayed:
            times.append(self._delayed[0][0])
        return min((time for time in times if time > now), default=None)
