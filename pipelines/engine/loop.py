"""The loop that drives records through the stages of a pipeline.

It depends neither on tables nor on videos nor on Ray: records come from an iterator, finished records are passed to a
function, an executor carries batches to workers. Its memory does not grow with the manifest.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from manifests.record import Record
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import Event, EventCallback, EventKind
from pipelines.engine.executors.base import (
    BatchDone,
    BatchFailed,
    BatchProgress,
    Executor,
    LossCause,
    PayloadLost,
    WorkerLost,
    WorkerReady,
    WorkerReport,
)
from pipelines.engine.flow import RecordFlow
from pipelines.engine.graph import Pipeline
from pipelines.engine.interrupts import Interrupts
from pipelines.engine.pools import Batch, WorkerPool
from pipelines.engine.recovery import Recovery
from pipelines.engine.statistics import RunStatistics, StageStatistics
from pipelines.engine.tasks import Admission, FinishedRecord, StageTask
from stages.base import Failed, FailureKind, Ok

MAX_WAIT_S = 0.2  # between two checks of time limits and of idle workers
WAITING_S = 60.0  # between two reports that a stage has no worker
ROOM_S = 30.0  # idle workers end after it for stages whose workers find no room, and start again after it
GC_THRESHOLDS = (200_000, 50, 1000)  # with Python's own, 500 simulated GPUs cost the driver 1.7 times as much
PROGRESS_S = 1.0  # between two progress events


def run_pipeline(
    pipeline: Pipeline,
    records: Iterable[Record],
    on_finished: Callable[[FinishedRecord], None],
    *,
    executor: Executor,
    config: EngineConfig | None = None,
    on_event: EventCallback | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RunStatistics:
    """Run all records through a pipeline.

    Args:
        pipeline: stages of the run.
        records: records to process; read lazily, as room becomes free.
        on_finished: callback called exactly once per record, as soon as the record is finished. An exception that it
            raises ends the run.
        executor: executor that carries batches to workers; opened and closed by this function.
        config: limits of the work in flight, and of retries.
        on_event: callback for every event.
        clock: function that returns the current time in seconds; simulations have their own.

    Returns:
        Statistics of the run.

    Raises:
        RunStopped: the run cannot continue: no worker of a stage starts, a disk is full, ...
        RunInterrupted: Ctrl-C or SIGTERM.
    """
    interrupts = Interrupts()
    try:
        executor.open()
        on_event = on_event or (lambda event: None)
        engine = _Engine(pipeline, records, on_finished, executor, config or EngineConfig(), on_event, clock)
        with interrupts.handle_signals(), _rare_collections():
            return engine.run(interrupts)
    finally:
        with interrupts.defer_ctrl_c():
            executor.close()


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Run the garbage collector less often: it would scan all records in flight again and again, and find nothing."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Engine:
    def __init__(
        self,
        pipeline: Pipeline,
        records: Iterable[Record],
        on_finished: Callable[[FinishedRecord], None],
        executor: Executor,
        config: EngineConfig,
        on_event: EventCallback,
        clock: Callable[[], float],
    ) -> None:
        self._pipeline, self._executor, self._config, self._on_event = pipeline, executor, config, on_event
        self._on_finished, self._clock = on_finished, clock

        numbers = itertools.count()
        self._pools = {s.name: WorkerPool(s, executor, numbers, config.start_limit_s) for s in pipeline.stages}
        self._batches: dict[int, Batch] = {}
        self._statistics = RunStatistics({spec.name: StageStatistics.for_stage(spec) for spec in pipeline.order})

        credits = {s.name: executor.count_workers(s) * s.slots * s.batch_size for s in pipeline.stages}
        self._admission = Admission(
            records,
            look_ahead=config.look_ahead,
            max_records=config.max_records or 2 * sum(credits.values()),
            max_bytes=config.max_bytes,
            warm_up=max(credits.values()),
        )
        self._flow = RecordFlow(pipeline, self._admission, self._statistics.stages, self._finish)
        self._recovery = Recovery(config, self._flow, self._statistics.stages, on_event, clock)
        self._flow.now = clock()
        self._started = self._last_observed = self._last_progress = self._last_waiting = self._last_room = self._clock()

    def run(self, interrupts: Interrupts) -> RunStatistics:
        self._on_event(Event(EventKind.RUN_STARTED, data={"stages": [spec.name for spec in self._pipeline.order]}))
        try:
            with interrupts.raise_run_interrupted():
                self._loop(interrupts)
        except BaseException as error:
            with contextlib.suppress(Exception):  # a failing callback must not hide the original error
                self._end(str(error))
            raise
        self._end(None)
        return self._statistics

    def _end(self, reason: str | None) -> None:
        self._observe(self._clock(), last=True)
        self._on_event(Event(EventKind.RUN_ENDED, data=self._statistics.as_dict() | {"error": reason}))

    def _loop(self, interrupts: Interrupts) -> None:
        for pool in self._pools.values():
            pool.start(self._started)
        while self._admit():
            interrupts.check()
            now = self._flow.now = self._clock()
            for pool in self._pools.values():
                pool.start_due_workers(now)
            self._launch(now)
            self._make_room(now)
            self._observe(now)
            reports = self._executor.wait(self._compute_timeout(now), self._on_batch_progress)
            interrupts.check()  # an interrupt that a stage swallowed must not become the failure of a record
            for report in reports:
                self._handle(report)
            self._kill_overdue(now)

    # -- records in and out

    def _admit(self) -> bool:
        """Admit records while there is room; return whether any work is left."""
        for _ in range(self._config.look_ahead):
            record = self._admission.next(
                in_flight=self._flow.in_flight,
                finished=self._statistics.finished,
                cached_bytes=self._flow.cached_bytes,
            )
            if record is None:
                break
            self._statistics.admitted += 1
            self._flow.enter(record)
        return self._flow.in_flight > 0 or not self._admission.exhausted

    def _finish(self, finished: FinishedRecord) -> None:
        self._statistics.add_finished(finished.rejection)
        if rejection := finished.rejection:
            data = {"record": finished.record.id, "status": rejection.status.value, "code": rejection.code}
            data |= {"sentence": rejection.sentence, "attempts": finished.attempts}
            self._on_event(Event(EventKind.RECORD_REJECTED, rejection.stage, data))
        self._on_finished(finished)

    # -- batches out and back

    def _launch(self, now: float) -> None:
        """Submit batches, the last stages first, so that started records get finished."""
        for spec in reversed(self._pipeline.order):
            queue, pool = self._flow.queues[spec.name], self._pools[spec.name]
            while group := queue.pop_due(now):
                self._recovery.retry_due(group)

            more_coming = not self._admission.exhausted or any(
                len(self._flow.queues[name]) or self._pools[name].n_running
                for name in self._pipeline.ancestors[spec.name]
            )
            while free := pool.find_free_worker():
                number, idle_workers = free
                batch_due = queue.next_batch(now, more_coming=more_coming, idle_workers=idle_workers)
                if batch_due is None:
                    break
                group, alone = batch_due
                tasks = [task for task in group if task.wanted]
                for task in group:
                    if not task.wanted:
                        self._flow.cancel(task)
                if tasks:
                    if self._statistics.first_batch_s is None:
                        self._statistics.first_batch_s = now - self._started
                    self._statistics.stages[spec.name].wait_s += sum(now - task.waiting_since for task in tasks)
                    number = pool.find_nearest_worker(number, tasks)
                    self._statistics.stages[spec.name].moved_bytes += pool.count_moved_bytes(number, tasks)
                    batch = pool.submit(number, tasks, now, alone=alone)
                    self._batches[batch.ticket] = batch

    def _make_room(self, now: float) -> None:
        """End idle workers of other stages where a stage has work and more workers than find room.

        After the loss of a node, for instance, the workers of one stage can fill the nodes that are left, and wait for
        another stage that finds no room there.
        """
        if now - self._last_room < ROOM_S:
            return
        self._last_room = now
        for spec in reversed(self._pipeline.order):
            pool = self._pools[spec.name]
            waiting = pool.list_waiting()
            if not waiting or not len(self._flow.queues[spec.name]):
                continue
            others = [other for other in self._pools.values() if other is not pool]
            idle = [number for other in others for number in other.list_waiting() + other.list_spare(now - ROOM_S)]
            ended = self._executor.find_obstacles(waiting, idle)
            for number in ended:
                other = self._find_pool(number)
                other.end(number, now + ROOM_S)
                sentence = f"stage {spec.name} has work, but not all of its workers find room; {pool.demand}"
                self._on_event(Event(EventKind.WORKER_ENDED, other.spec.name, {"worker": number, "sentence": sentence}))
            if ended:
                return

    def _handle(self, report: WorkerReport) -> None:
        now = self._flow.now = self._clock()
        if isinstance(report, WorkerReady):
            pool = self._find_pool(report.worker)
            pool.set_ready(report.worker, now, report.node)
            self._on_event(Event(EventKind.WORKER_READY, pool.spec.name, {"worker": report.worker}))
            return
        if isinstance(report, WorkerLost):
            self._lose_worker(report.worker, report.cause, report.sentence)
            return

        batch = self._batches.pop(report.ticket)
        pool = self._pools[batch.stage]
        pool.finish_batch(batch, now)
        match report:
            case BatchDone():
                self._handle_outcomes(batch, report, pool.find_node(batch.worker))
            case BatchFailed(failure=failure, seconds=seconds):
                self._recovery.handle_failed_batch(batch, batch.tasks, failure, seconds)
            case PayloadLost(sentence=sentence):
                self._recovery.handle_lost_payload(batch, sentence)

    def _on_batch_progress(self, reports: Sequence[BatchProgress]) -> None:
        now = self._clock()
        for report in reports:
            if batch := self._batches.get(report.ticket):
                batch.report(report, now)
        self._observe(now)

    def _handle_outcomes(self, batch: Batch, done: BatchDone, node: str | None) -> None:
        statistics = self._statistics.stages[batch.stage]
        statistics.add_batch(len(batch.tasks), done.seconds)
        share = done.seconds / len(batch.tasks)

        out_of_memory: list[tuple[StageTask, Failed]] = []
        for task, outcome, reference in zip(batch.tasks, done.outcomes, done.references, strict=True):
            if isinstance(outcome, Ok):
                statistics.records += 1
                statistics.add_facts(outcome.facts)
                self._flow.succeed(task, outcome, reference, share, node)
            elif outcome.kind is FailureKind.OUT_OF_MEMORY:
                out_of_memory.append((task, outcome))
            else:
                self._recovery.handle_failed_outcome(task, outcome)

        if out_of_memory:
            tasks = [task for task, _ in out_of_memory]
            self._recovery.handle_failed_batch(batch, tasks, out_of_memory[0][1], share * len(tasks))

    def _kill_overdue(self, now: float) -> None:
        if not self._executor.parallel:
            return
        for pool in self._pools.values():
            for number in pool.find_overdue(now):
                self._executor.kill_worker(number)
                self._lose_worker(number, LossCause.TIME_LIMIT, f"no progress within {pool.spec.time_limit_s:g} s")

    def _lose_worker(self, number: int, cause: LossCause, sentence: str) -> None:
        now = self._clock()
        pool = self._find_pool(number)
        batches = pool.remove(number, cause, sentence, now)
        for batch in batches:
            del self._batches[batch.ticket]
        self._recovery.handle_lost_worker(pool.spec.name, batches, cause, sentence, now)

    # -- time and statistics

    def _compute_timeout(self, now: float) -> float:
        times = [queue.find_next_time(now) for queue in self._flow.queues.values()]
        return min([MAX_WAIT_S, *(time - now for time in times if time is not None)])

    def _observe(self, now: float, *, last: bool = False) -> None:
        for name, pool in self._pools.items():
            self._statistics.stages[name].advance(
                now - self._last_observed,
                workers=pool.ready,
                running=pool.n_running,
                running_s=pool.compute_running_s(now),
                queue_depth=len(self._flow.queues[name]),
            )
        self._report_waiting(now)

        self._last_observed = now
        self._statistics.elapsed_s = now - self._started
        self._statistics.in_flight = self._flow.in_flight
        self._statistics.bytes_in_flight = self._admission.held_bytes
        if last or now - self._last_progress >= PROGRESS_S:
            self._last_progress = now
            self._sum_partial_work()
            self._executor.publish(self._statistics)
            self._on_event(Event(EventKind.PROGRESS, data=self._statistics.as_dict()))

    def _sum_partial_work(self) -> None:
        for statistics in self._statistics.stages.values():
            statistics.partial_records = statistics.partial_units = statistics.partial_s = 0.0
        for batch in self._batches.values():
            if progress := batch.progress:
                statistics = self._statistics.stages[batch.stage]
                statistics.partial_records += progress.fraction * len(batch.tasks)
                statistics.partial_units += progress.units
                statistics.partial_s += progress.seconds

    def _report_waiting(self, now: float) -> None:
        """Report, once a minute, the stages that have no worker."""
        if now - self._last_waiting < WAITING_S:
            return
        waiting = [pool for pool in self._pools.values() if pool.compute_waiting_s(now) >= WAITING_S]
        if not waiting:
            return
        self._last_waiting = now
        resources = self._executor.describe_resources()
        for pool in waiting:
            sentence = f"no worker for {pool.compute_waiting_s(now):.0f} s; {pool.demand}; {resources}"
            self._on_event(Event(EventKind.WAITING, pool.spec.name, {"sentence": sentence}))

    def _find_pool(self, worker: int) -> WorkerPool:
        return next(pool for pool in self._pools.values() if worker in pool)
