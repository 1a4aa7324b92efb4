"""Records that wait to enter the pipeline, and tasks that wait for a worker, grouped into batches."""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import deque
from collections.abc import Hashable, Iterable, Iterator

from manifests.record import Record
from pipelines.engine.graph import StageSpec
from pipelines.engine.tasks import Payload, StageTask


class Admission:
    """Admits records of the manifest while there is room, those of highest priority within a window first.

    Room is bounded by a number of records and an amount of memory. The memory that a record needs is the average over
    finished records; until the first one has finished, at most `warm_up` records are in flight. If nothing is in
    flight, one record is always admitted.

    Args:
        records: records of the manifest, read as room becomes free.
        look_ahead: number of records to read ahead, among which priority decides.
        max_records: maximum number of records in flight.
        max_bytes: maximum memory that the payloads of records in flight hold.
        warm_up: maximum number of records in flight before the first one has finished.
    """

    def __init__(
        self, records: Iterable[Record], *, look_ahead: int, max_records: int, max_bytes: int, warm_up: int
    ) -> None:
        self._records: Iterator[Record] | None = iter(records)
        self._window: list[tuple[float, int, Record]] = []
        self._look_ahead = look_ahead
        self._max_records, self._max_bytes, self._warm_up = max_records, max_bytes, warm_up
        self._n_read = 0
        self._produced_bytes = 0
        self.held_bytes = 0

    def track(self, payload: Payload) -> None:
        """Count the memory of a payload for as long as it is referenced."""
        if payload.n_bytes:
            self._produced_bytes += payload.n_bytes
            self.held_bytes += payload.n_bytes
            weakref.finalize(payload, self._release, payload.n_bytes).atexit = False

    def _release(self, n_bytes: int) -> None:
        self.held_bytes -= n_bytes

    @property
    def exhausted(self) -> bool:
        """Whether no record is left."""
        self._read()
        return not self._window

    def next(self, *, in_flight: int, finished: int, cached_bytes: int) -> Record | None:
        """Return the next record, or None if there is none or no room for it.

        Args:
            in_flight: number of records in flight.
            finished: number of finished records.
            cached_bytes: memory of shared results, which are bounded separately.
        """
        if self.exhausted or (in_flight and not self._has_room(in_flight, finished, cached_bytes)):
            return None
        return heapq.heappop(self._window)[2]

    def _has_room(self, in_flight: int, finished: int, cached_bytes: int) -> bool:
        if in_flight >= self._max_records or self.held_bytes - cached_bytes >= self._max_bytes:
            return False
        if not finished:
            return in_flight < self._warm_up
        return (in_flight + 1) * self._produced_bytes / finished <= self._max_bytes

    def _read(self) -> None:
        while self._records is not None and len(self._window) < self._look_ahead:
            record = next(self._records, None)
            if record is None:
                self._records = None
            else:
                heapq.heappush(self._window, (-record.priority, self._n_read, record))
                self._n_read += 1


class StageQueue:
    """The queue of one stage.

    New tasks wait by bucket until a batch is full, or they have waited long enough. Groups that are retried after a
    failure stay together, go first, and get a worker to themselves: if it crashes, there is no doubt about which batch
    crashed it. Groups with a back-off are set aside until their delay is over.
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
        """Add tasks that must run together and with no others.

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

    def next_batch(self, now: float, *, more_coming: bool, idle_workers: int) -> tuple[list[StageTask], bool] | None:
        """Return the next batch, if one should start now, and whether it must have its worker to itself.

        Args:
            now: current time.
            more_coming: whether other records may still fill a batch. If not, idle workers share what is left.
            idle_workers: number of idle workers. Only an idle worker gets a batch that is not full: any other could
                not start it yet, and it may still fill.
        """
        if self._returned:
            return (self._remove(self._returned.popleft()), True) if idle_workers else None

        oldest = None
        for bucket, tasks in self._buckets.items():
            full = len(tasks) >= self._spec.batch_size
            waited = now - tasks[0].waiting_since
            if full or (idle_workers and (not more_coming or waited >= self._spec.batch_wait_s)):
                rank = (not full, tasks[0].waiting_since)
                oldest = min(oldest, (rank, bucket), key=lambda pair: pair[0]) if oldest else (rank, bucket)
        if oldest is None:
            return None
        share = self._spec.batch_size
        if idle_workers and not more_coming:
            share = min(share, -(-sum(map(len, self._buckets.values())) // idle_workers))
        return self._remove(self._pop(oldest[1], share)), False

    def _pop(self, bucket: Hashable, n_tasks: int) -> list[StageTask]:
        tasks = self._buckets[bucket]
        batch = [tasks.popleft() for _ in range(min(len(tasks), n_tasks))]
        if not tasks:
            del self._buckets[bucket]
        return batch

    def _remove(self, group: list[StageTask]) -> list[StageTask]:
        self._n_tasks -= len(group)
        return group

    def find_next_time(self, now: float) -> float | None:
        """Return the time of the next change that no event announces."""
        times = [tasks[0].waiting_since + self._spec.batch_wait_s for tasks in self._buckets.values()]
        if self._delayed:
            times.append(self._delayed[0][0])
        return min((time for time in times if time > now), default=None)
