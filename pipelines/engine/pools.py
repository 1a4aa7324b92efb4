"""The workers of one stage: their state, their batches, and their replacement."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.engine.executors.base import BatchEntry, BatchProgress, Executor, LossCause
from pipelines.engine.graph import StageSpec
from pipelines.engine.interrupts import RunStopped
from pipelines.engine.tasks import Payload, StageTask

_SETUP_BACKOFF_S = 0.1  # doubled with each failure in a row
_SETUP_BACKOFF_MAX_S = 60.0
_SETUP_TRIES = 3  # failures of `setup` in a row, and at least one per worker, before the run stops
_SETUP_CRASHES = 20  # the same limit for workers that vanished during `setup`: they may have been killed from outside
_CRASH_BACKOFF_MAX_S = 5.0


@dataclass(slots=True, eq=False)
class Batch:
    """Tasks that were sent to a worker together."""

    ticket: int  # number of the batch
    stage: str  # name of the stage
    worker: int  # number of the worker
    tasks: list[StageTask]  # tasks of the batch
    alone: bool = False  # whether the worker gets no other batch until this one is finished
    started: float | None = None  # start time; None while the batch waits behind another one
    advanced: float = 0.0  # time of the start or of the last report of more finished work
    progress: BatchProgress | None = None  # last report on the running batch

    def report(self, progress: BatchProgress, now: float) -> None:
        """Note the state of the running batch."""
        if progress.units > (self.progress.units if self.progress else 0.0):
            self.advanced = now
        self.progress = progress


@dataclass(slots=True, eq=False)
class _Worker:
    ready: bool = False
    node: str | None = None
    batches: deque[Batch] = field(default_factory=deque)  # the first one is running
    bucket: int | None = None  # number of its batches if it accepts another one
    idle_since: float = 0.0  # time when it became ready or finished its last batch


@dataclass(eq=False)
class WorkerPool:
    """The workers of one stage; lost workers are replaced."""

    spec: StageSpec  # the stage
    executor: Executor  # executor that runs the workers
    numbers: itertools.count[int]  # counter for workers and batches, shared by all stages of the run
    start_limit_s: float  # maximum time that the stage may be without a ready worker

    def __post_init__(self) -> None:
        self._size = self.executor.count_workers(self.spec)
        self._workers: dict[int, _Worker] = {}
        # Workers with a free slot by number of batches, the one that has been there longest first. Counts are kept and
        # deadlines are in a heap, so that each dispatch takes the same time for any number of workers.
        self._free: list[dict[int, None]] = [{} for _ in range(self.spec.slots)]
        self._free_on: list[dict[str, dict[int, None]]] = [{} for _ in range(self.spec.slots)]  # the same by node
        self._deadlines: list[tuple[float, int, int]] = []  # heap of time, worker and ticket; of batches that started
        self.ready = 0
        self.n_running = 0
        self._n_finished = 0  # batches
        self._n_started, self._sum_started = 0, 0.0  # number and summed start times of running batches
        self._starts: list[float] = []  # heap of the start times of workers to come
        self._setup_failures = 0  # workers in a row whose `setup` raised
        self._setup_crashes = 0  # workers in a row that vanished during `setup`
        self._without_since: float | None = None

    def __contains__(self, number: int) -> bool:
        return number in self._workers

    def compute_running_s(self, now: float) -> float:
        """Return the elapsed seconds of the batches that are running now."""
        return self._n_started * now - self._sum_started

    def start(self, now: float) -> None:
        """Schedule the start of all workers."""
        self._starts = [now] * self._size
        self._without_since = now

    def start_due_workers(self, now: float) -> None:
        """Start the workers whose start time has come.

        Raises:
            RunStopped: the stage has had no worker for too long.
        """
        while self._starts and self._starts[0] <= now:
            heapq.heappop(self._starts)
            number = next(self.numbers)
            self._workers[number] = _Worker()
            self.executor.start_worker(number, self.spec)
        if self._without_since is not None and now - self._without_since > self.start_limit_s:
            raise RunStopped(
                "no_worker",
                f"stage {self.spec.name}: none of {self._size} workers was ready within {self.start_limit_s:g} s; "
                f"{self.demand}; {self.executor.describe_resources()}: add machines, or configure less",
            )

    def compute_waiting_s(self, now: float) -> float:
        """Return the time that the stage has been without a ready worker; 0 if it has one."""
        return 0.0 if self._without_since is None else now - self._without_since

    @property
    def demand(self) -> str:
        """The resources that each worker of the stage needs."""
        return f"each worker needs {self.spec.num_cpus:g} CPU and {self.spec.num_gpus:g} GPU"

    def set_ready(self, number: int, now: float, node: str | None = None) -> None:
        """Mark a worker on a node as ready."""
        worker = self._workers[number]
        worker.ready, worker.idle_since, worker.node = True, now, node
        self.ready += 1
        self._update_bucket(number, worker)
        self._setup_failures = self._setup_crashes = 0
        self._without_since = None

    def find_free_worker(self) -> tuple[int, int] | None:
        """Return the ready worker with the most free slots, and the number of idle workers; None if no slot is free."""
        for numbers in self._free:
            if numbers:
                return next(iter(numbers)), len(self._free[0])
        return None

    def _update_bucket(self, number: int, worker: _Worker) -> None:
        """File a worker whose batches have changed under its number of batches."""
        self._remove_from_bucket(number, worker)
        alone = bool(worker.batches) and worker.batches[0].alone
        accepts = worker.ready and not alone and len(worker.batches) < self.spec.slots
        worker.bucket = len(worker.batches) if accepts else None
        if worker.bucket is not None:
            self._free[worker.bucket][number] = None
            if worker.node is not None:
                self._free_on[worker.bucket].setdefault(worker.node, {})[number] = None

    def _remove_from_bucket(self, number: int, worker: _Worker) -> None:
        if worker.bucket is not None:
            del self._free[worker.bucket][number]
            if worker.node is not None:
                del self._free_on[worker.bucket][worker.node][number]

    def find_nearest_worker(self, number: int, tasks: Sequence[StageTask]) -> int:
        """Return a worker that can do as much as a free one, on the node that stores most of the inputs of the tasks.

        Args:
            number: number of the free worker, which is returned if no other one is nearer.
            tasks: tasks of the batch.
        """
        worker, stored = self._workers[number], Counter[str]()
        for payload in _distinct_inputs(tasks):
            if payload.node is not None:
                stored[payload.node] += payload.n_bytes
        if worker.bucket is None or not stored or worker.node is None:
            return number
        node, n_bytes = stored.most_common(1)[0]
        nearer = self._free_on[worker.bucket].get(node) if n_bytes > stored[worker.node] else None
        return next(iter(nearer)) if nearer else number

    def count_moved_bytes(self, number: int, tasks: Sequence[StageTask]) -> int:
        """Return the size of the inputs that other nodes than that of the worker store."""
        node = self._workers[number].node
        return sum(p.n_bytes for p in _distinct_inputs(tasks) if p.node is not None and p.node != node)

    def find_node(self, number: int) -> str | None:
        """Return the node of a worker; None if unknown."""
        return self._workers[number].node

    def _start_head(self, worker: _Worker, now: float) -> None:
        """Note that the first batch of a worker is running now."""
        head = worker.batches[0]
        head.started = head.advanced = now
        self._n_started += 1
        self._sum_started += now
        heapq.heappush(self._deadlines, (now + self.spec.time_limit_s, head.worker, head.ticket))

    def _stop_head(self, batch: Batch) -> None:
        if batch.started is not None:
            self._n_started -= 1
            self._sum_started = self._sum_started - batch.started if self._n_started else 0.0

    def submit(self, number: int, tasks: list[StageTask], now: float, *, alone: bool) -> Batch:
        """Send a batch to a worker with a free slot.

        Args:
            number: number of the worker; it must be idle if the batch is to run alone.
            tasks: tasks of the batch.
            now: current time.
            alone: whether the worker gets no other batch until this one is finished.
        """
        worker = self._workers[number]
        batch = Batch(next(self.numbers), self.spec.name, number, tasks, alone)
        worker.batches.append(batch)
        self.n_running += 1
        if len(worker.batches) == 1:
            self._start_head(worker, now)
        self._update_bucket(number, worker)
        for task in tasks:
            task.runs += 1
        entries = [
            BatchEntry(task.leader.record, {name: payload.reference for name, payload in task.inputs.items()})
            for task in tasks
        ]
        self.executor.submit(number, batch.ticket, entries)
        return batch

    def finish_batch(self, batch: Batch, now: float) -> None:
        """Remove a finished batch."""
        worker = self._workers[batch.worker]
        worker.batches.remove(batch)
        worker.idle_since = now
        self.n_running -= 1
        self._n_finished += 1
        self._stop_head(batch)
        if worker.batches and worker.batches[0].started is None:
            self._start_head(worker, now)
        self._update_bucket(batch.worker, worker)

    def list_waiting(self) -> list[int]:
        """Return the workers that are not ready yet."""
        return [number for number, worker in self._workers.items() if not worker.ready]

    def list_spare(self, since: float) -> list[int]:
        """Return the workers that have been idle since then, the one that has been idle longest first.

        One ready worker is never spare, and none is before the stage has finished a batch: its work may be on the way.
        """
        idle = [number for number in self._free[0] if self._workers[number].idle_since <= since]
        return idle[: self.ready - 1] if self._n_finished else []

    def end(self, number: int, restart: float) -> None:
        """End an idle worker, or one that is not ready; another one starts at the time `restart`."""
        self.executor.kill_worker(number)
        self._take_out(number)
        heapq.heappush(self._starts, restart)

    def _take_out(self, number: int) -> _Worker:
        worker = self._workers.pop(number)
        self._remove_from_bucket(number, worker)
        self.ready -= worker.ready
        return worker

    def find_overdue(self, now: float) -> list[int]:
        """Return the workers whose running batch has not advanced within the time limit."""
        overdue = []
        while self._deadlines and self._deadlines[0][0] < now:
            _, number, ticket = heapq.heappop(self._deadlines)
            worker = self._workers.get(number)
            if not worker or not worker.batches or worker.batches[0].ticket != ticket:
                continue
            deadline = worker.batches[0].advanced + self.spec.time_limit_s
            if deadline < now:
                overdue.append(number)
            else:
                heapq.heappush(self._deadlines, (deadline, number, ticket))
        return overdue

    def remove(self, number: int, cause: LossCause, sentence: str, now: float) -> list[Batch]:
        """Remove a lost worker and schedule the start of its replacement.

        Returns:
            The batches of the worker; only the first one was running.

        Raises:
            RunStopped: no worker of the stage gets through `setup`.
        """
        worker = self._take_out(number)
        self.n_running -= len(worker.batches)
        for batch in worker.batches:
            self._stop_head(batch)
        start = now
        if not worker.ready and cause is not LossCause.NODE:
            start += self._count_failed_setup(cause, sentence)
        heapq.heappush(self._starts, start)
        if not self.ready and self._without_since is None:
            self._without_since = now
        return list(worker.batches)

    def _count_failed_setup(self, cause: LossCause, sentence: str) -> float:
        """Count a worker that did not get ready; return the seconds to wait before its replacement starts."""
        if cause is LossCause.SETUP:
            self._setup_failures += 1
        else:
            self._setup_crashes += 1
        n_lost = self._setup_failures + self._setup_crashes
        failed = self._setup_failures >= max(_SETUP_TRIES, self._size)
        if not self.ready and (failed or self._setup_crashes >= max(_SETUP_CRASHES, self._size)):
            text = f"stage {self.spec.name}: setup failed {n_lost} times in a row and no worker is ready: {sentence}"
            raise RunStopped("setup_failed", text)
        longest = _SETUP_BACKOFF_MAX_S if cause is LossCause.SETUP else _CRASH_BACKOFF_MAX_S
        return min(_SETUP_BACKOFF_S * 2**n_lost, longest)


def _distinct_inputs(tasks: Sequence[StageTask]) -> dict[Payload, None]:
    return dict.fromkeys(payload for task in tasks for payload in task.inputs.values())
