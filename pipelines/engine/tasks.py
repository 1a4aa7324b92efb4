"""Records in flight, their payloads, the tasks that workers run for them, and the queues in which they wait."""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.engine.graph import Route, StageSpec
from stages.base import Fact


@dataclass(frozen=True)
class Rejection:
    """The reason why a record ended before the last stage."""

    status: Status
    stage: str
    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class FinishedRecord:
    """A record that has left the pipeline."""

    record: Record  # the record
    rejection: Rejection | None  # reason of the failure; None if the record is ok
    attempts: int  # maximum number of runs that one stage needed; 1 if nothing failed
    # the record's share of the duration of its batches, by output; 0 where it shared a result
    seconds: Mapping[str, float]
    facts: Mapping[str, Mapping[str, Fact]]  # facts that the stages reported, by output

    @property
    def status(self) -> Status:
        """Status of the record."""
        return self.rejection.status if self.rejection else Status.OK


class Payload:
    """A result that is stored by the workers; the reference that the driver holds keeps it alive."""

    __slots__ = ("__weakref__", "facts", "lost", "n_bytes", "node", "reference")

    def __init__(self, reference: Any, facts: Mapping[str, Fact], node: str | None = None) -> None:
        self.reference = reference
        self.node = node  # the node that stores it; None if unknown
        self.facts = facts
        size = facts.get("bytes")
        self.n_bytes = int(size) if isinstance(size, int | float) else 0
        self.lost = False


@dataclass(slots=True, eq=False)
class RecordState:
    """A record in flight."""

    record: Record  # the record
    route: Route  # stages that the record passes, one for each output
    payloads: dict[str, Payload] = field(default_factory=dict)  # payloads that later stages still need, by output
    # facts, seconds: values for the outcome row, by output
    facts: dict[str, Mapping[str, Fact]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)  # outputs of finished stages
    # outputs of stages that wait for a worker, run, or wait for a shared result
    pending: set[str] = field(default_factory=set)
    attempts: int = 1  # maximum number of runs that one stage needed
    replays: int = 0  # number of times that a payload was lost
    closed: bool = False  # whether the record has left the pipeline; results that arrive later are ignored


@dataclass(slots=True, eq=False)
class StageTask:
    """One computation of one stage, for one record or for all that share its result."""

    stage: str  # name of the stage
    waiters: list[RecordState]  # records that get the result
    inputs: dict[str, Payload]  # payloads by output
    key: Hashable | None  # key by which the result is shared; None if it is not
    bucket: Hashable  # value that all tasks of a batch have in common
    waiting_since: float  # time at which the task was queued
    runs: int = 0  # number of times that a worker started it
    io_failures: int = 0  # number of failures of a file or service
    solo_failures: int = 0  # number of times that it crashed its worker, raised or ran out of memory alone in its batch
    worker_crashes: int = 0  # number of workers lost by an unknown cause while they ran it
    other_crashes: int = 0  # number of workers lost in other tasks at the time when this one was last suspected

    @property
    def wanted(self) -> bool:
        """Whether a record still needs it."""
        return not self.leader.closed

    @property
    def leader(self) -> RecordState:
        """The record whose inputs the task uses."""
        first = self.waiters[0]
        return next((state for state in self.waiters if not state.closed), first) if first.closed else first


@dataclass(eq=False)
class Admission:
    """Admits records of the manifest while there is room, those of highest priority within a window first.

    Room is bounded by a number of records and an amount of memory. The memory that a record needs is the average over
    finished records; until the first one has finished, at most `warm_up` records are in flight. If nothing is in
    flight, one record is always admitted.
    """

    records: Iterable[Record]  # records of the manifest, read as room becomes free
    look_ahead: int  # number of records to read ahead, among which priority decides
    max_records: int  # maximum number of records in flight
    max_bytes: int  # maximum memory that the payloads of records in flight hold
    warm_up: int  # maximum number of records in flight before the first one has finished

    def __post_init__(self) -> None:
        self._records: Iterator[Record] | None = iter(self.records)
        self._window: list[tuple[float, int, Record]] = []
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
        if in_flight >= self.max_records or self.held_bytes - cached_bytes >= self.max_bytes:
            return False
        if not finished:
            return in_flight < self.warm_up
        return (in_flight + 1) * self._produced_bytes / finished <= self.max_bytes

    def _read(self) -> None:
        while self._records is not None and len(self._window) < self.look_ahead:
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
        """Add tasks that must run together and with no others, not before a time."""
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
