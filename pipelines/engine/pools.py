"""The workers of one stage: which are ready, what they run, which have to be replaced."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

from pipelines.engine.errors import RunStopped
from pipelines.engine.executors.base import Cause, Entry, Executor
from pipelines.engine.graph import StageSpec
from pipelines.engine.tasks import StageTask

_SETUP_BACKOFF_S = 0.1  # doubled with each failure in a row
_SETUP_BACKOFF_MAX_S = 60.0
_SETUP_TRIES = 3  # `setup` raised at least so often in a row, and once per worker, before a stage is given up
_SETUP_CRASHES = 20  # the same of workers that vanished in `setup`: they may have been killed from outside
_CRASH_BACKOFF_MAX_S = 5.0


@dataclass(slots=True, eq=False)
class Batch:
    """Tasks that were sent to a worker together.

    Attributes:
        ticket: number of the batch.
        stage: name of the stage.
        worker: number of the worker.
        tasks: tasks of the batch.
        alone: whether the worker gets no other batch until this one is back.
        started: start time; `None` while the batch waits behind another one.
    """

    ticket: int
    stage: str
    worker: int
    tasks: list[StageTask]
    alone: bool = False
    started: float | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    ready: bool = False
    batches: deque[Batch] = field(default_factory=deque)  # the first one runs


class WorkerPool:
    """The workers of one stage, of which there are always as many as configured, or replacements on their way.

    Args:
        spec: the stage.
        executor: where the workers are.
        numbers: source of numbers for workers and batches, unique in the run.
        start_limit_s: how long the stage may be without any worker.
    """

    def __init__(
        self, spec: StageSpec, executor: Executor, numbers: itertools.count[int], start_limit_s: float
    ) -> None:
        self.spec = spec
        self._executor, self._numbers, self._start_limit_s = executor, numbers, start_limit_s
        self._size = executor.workers_of(spec)
        self._workers: dict[int, _Worker] = {}
        self._starts: list[float] = []  # times at which replacements are to be started
        self._setup_failures = 0  # in a row; those that raised
        self._setup_crashes = 0  # in a row; those that vanished
        self._without_since: float | None = None

    @property
    def ready(self) -> int:
        """Workers that take batches."""
        return sum(worker.ready for worker in self._workers.values())

    def __contains__(self, number: int) -> bool:
        return number in self._workers

    @property
    def n_running(self) -> int:
        """Batches sent and not back."""
        return sum(len(worker.batches) for worker in self._workers.values())

    def running_s(self, now: float) -> float:
        """Seconds that the batches now running have taken so far."""
        heads = (worker.batches[0].started for worker in self._workers.values() if worker.batches)
        return sum(now - started for started in heads if started is not None)

    def start(self, now: float) -> None:
        """Starts all workers."""
        self._starts = [now] * self._size
        self._without_since = now

    def start_due_workers(self, now: float) -> None:
        """Start the workers whose start time has come.

        Raises:
            RunStopped: the stage has had no worker for too long.
        """
        while self._starts and self._starts[0] <= now:
            heapq.heappop(self._starts)
            number = next(self._numbers)
            self._workers[number] = _Worker()
            self._executor.start_worker(number, self.spec)
        if self._without_since is not None and now - self._without_since > self._start_limit_s:
            raise RunStopped(
                "no_worker",
                f"stage {self.spec.name}: none of {self._size} workers was ready within {self._start_limit_s:g} s; "
                f"each asks for {self.spec.num_cpus:g} CPU and {self.spec.num_gpus:g} GPU: "
                "see that the machines offer that, or ask for less",
            )

    def set_ready(self, number: int) -> None:
        """Notes that a worker has loaded its models."""
        self._workers[number].ready = True
        self._setup_failures = self._setup_crashes = 0
        self._without_since = None

    def free_worker(self) -> tuple[int, bool] | None:
        """The ready worker with the most free slots and whether it is idle; `None` if all slots are taken."""
        best, load = -1, self.spec.slots
        for number, worker in self._workers.items():
            taken = self.spec.slots if worker.batches and worker.batches[0].alone else len(worker.batches)
            if worker.ready and taken < load:
                best, load = number, taken
        return (best, load == 0) if best >= 0 else None

    def submit(self, number: int, tasks: list[StageTask], now: float, *, alone: bool) -> Batch:
        """Sends a batch to a worker with a free slot; one that is to be `alone`, to an idle worker."""
        worker = self._workers[number]
        batch = Batch(next(self._numbers), self.spec.name, number, tasks, alone, None if worker.batches else now)
        worker.batches.append(batch)
        for task in tasks:
            task.runs += 1
        entries = [
            Entry(task.leader.record, {name: payload.reference for name, payload in task.inputs.items()})
            for task in tasks
        ]
        self._executor.submit(number, batch.ticket, entries)
        return batch

    def finish_batch(self, batch: Batch, now: float) -> None:
        """Remove a batch that came back."""
        batches = self._workers[batch.worker].batches
        batches.remove(batch)
        if batches and batches[0].started is None:
            batches[0].started = now

    def overdue(self, now: float) -> list[int]:
        """Workers whose running batch takes longer than it may."""
        return [number for number, worker in self._workers.items() if worker.batches and self._hangs(worker, now)]

    def _hangs(self, worker: _Worker, now: float) -> bool:
        started = worker.batches[0].started
        return started is not None and now - started > self.spec.time_limit_s

    def remove(self, number: int, cause: Cause, sentence: str, now: float) -> list[Batch]:
        """Replaces a worker that is gone.

        Args:
            number: of the worker.
            cause: why it is gone.
            sentence: the same in words.
            now: the time.

        Returns:
            The batches it held; the first one was running, the others had not been begun.

        Raises:
            RunStopped: no worker of the stage gets through `setup`.
        """
        worker = self._workers.pop(number)
        start = now
        if not worker.ready and cause is not Cause.NODE:
            start += self._setup_lost(cause, sentence)
        heapq.heappush(self._starts, start)
        if not self.ready and self._without_since is None:
            self._without_since = now
        return list(worker.batches)

    def _setup_lost(self, cause: Cause, sentence: str) -> float:
        """Counts a worker that did not get ready; returns the seconds to wait before the next one starts."""
        if cause is Cause.SETUP:
            self._setup_failures += 1
        else:
            self._setup_crashes += 1
        n_lost = self._setup_failures + self._setup_crashes
        failed = self._setup_failures >= max(_SETUP_TRIES, self._size)
        if not self.ready and (failed or self._setup_crashes >= max(_SETUP_CRASHES, self._size)):
            text = f"stage {self.spec.name}: setup failed {n_lost} times in a row and no worker is ready: {sentence}"
            raise RunStopped("setup_failed", text)
        longest = _SETUP_BACKOFF_MAX_S if cause is Cause.SETUP else _CRASH_BACKOFF_MAX_S
        return min(_SETUP_BACKOFF_S * 2**n_lost, longest)
