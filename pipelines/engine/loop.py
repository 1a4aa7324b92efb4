"""The loop that drives records through the stages of a pipeline.

It knows records, stages, workers and failures, and neither tables nor videos nor Ray: records come from an iterator,
finished ones go to a function, batches are carried by an executor. Its memory does not grow with the manifest.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from joyvasa.errors import ConfigError
from manifests.run.outcome import Status
from pipelines.engine.admission import Admission
from pipelines.engine.events import Event, EventKind, Listener
from pipelines.engine.executors.base import (
    BatchDone,
    BatchFailed,
    Cause,
    Executor,
    PayloadLost,
    Report,
    WorkerLost,
    WorkerReady,
)
from pipelines.engine.failure_policy import FailureConfig
from pipelines.engine.flow import RecordFlow
from pipelines.engine.graph import Pipeline
from pipelines.engine.interrupts import Interrupts
from pipelines.engine.pools import Batch, WorkerPool
from pipelines.engine.recovery import Recovery
from pipelines.engine.statistics import RunStatistics, StageStatistics
from pipelines.engine.tasks import Finished, Work
from stages.base import Failed, Kind, Ok, Record

_LONGEST_WAIT_S = 0.2  # after which time limits and dead idle workers are looked at


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How much the engine has under way, and how patient it is.

    Attributes:
        max_records: most records in flight; `None` for twice what fills all workers.
        max_bytes: most memory of the payloads that they hold, without shared results (see `StageSpec.cache_bytes`).
        look_ahead: records read ahead, among which priority decides.
        start_limit_s: how long a stage may be without any worker.
        progress_s: between two progress events.
        failures: how patient.
    """

    max_records: int | None = None
    max_bytes: int = 2 << 30
    look_ahead: int = 1024
    start_limit_s: float = 1800.0
    progress_s: float = 1.0
    failures: FailureConfig = field(default_factory=FailureConfig)

    def __post_init__(self) -> None:
        for name in ("max_records", "max_bytes", "look_ahead"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError("engine_option", f"{name} is {value}; expected at least 1")


def run(
    pipeline: Pipeline,
    records: Iterable[Record],
    sink: Callable[[Finished], None],
    *,
    executor: Executor,
    config: EngineConfig | None = None,
    listener: Listener | None = None,
) -> RunStatistics:
    """Runs all records through the pipeline.

    Args:
        pipeline: the stages.
        records: read on as there is room for more.
        sink: gets each record exactly once, as soon as it is finished, in the order of finishing. What it raises ends
            the run.
        executor: carries batches to workers; opened and closed here.
        config: bounds and patience.
        listener: hears what happens.

    Returns:
        The statistics of the run.

    Raises:
        RunStopped: the run cannot go on: no worker of a stage starts, a disk is full, ...
        RunInterrupted: Ctrl-C or SIGTERM.
    """
    interrupts = Interrupts()
    try:
        executor.open()
        engine = _Engine(pipeline, records, sink, executor, config or EngineConfig(), listener or (lambda event: None))
        with interrupts.listening():
            return engine.run(interrupts)
    finally:
        executor.close()


class _Engine:
    def __init__(
        self,
        pipeline: Pipeline,
        records: Iterable[Record],
        sink: Callable[[Finished], None],
        executor: Executor,
        config: EngineConfig,
        listener: Listener,
    ) -> None:
        self._pipeline, self._executor, self._config, self._tell = pipeline, executor, config, listener
        self._sink = sink
        numbers = itertools.count()
        self._pools = {s.name: WorkerPool(s, executor, numbers, config.start_limit_s) for s in pipeline.stages}
        self._batches: dict[int, Batch] = {}
        self._statistics = RunStatistics({spec.name: StageStatistics.of(spec) for spec in pipeline.order})
        credits = {s.name: executor.workers_of(s) * s.slots * s.batch_size for s in pipeline.stages}
        self._admission = Admission(
            records,
            look_ahead=config.look_ahead,
            max_records=config.max_records or 2 * sum(credits.values()),
            max_bytes=config.max_bytes,
            warm_up=max(credits.values()),
        )
        self._flow = RecordFlow(pipeline, self._admission, self._statistics.stages, self._finish)
        self._recovery = Recovery(config.failures, self._flow, self._statistics.stages, listener)
        self._started = self._seen = self._told = time.monotonic()

    def run(self, interrupts: Interrupts) -> RunStatistics:
        self._tell(Event(EventKind.RUN_STARTED, data={"stages": [spec.name for spec in self._pipeline.order]}))
        try:
            with interrupts.unwrapped():
                self._loop(interrupts)
        except BaseException as error:
            with contextlib.suppress(Exception):  # a listener that writes to a full disk must not hide the reason
                self._end(str(error))
            raise
        self._end(None)
        return self._statistics

    def _end(self, reason: str | None) -> None:
        self._observe(time.monotonic(), last=True)
        self._tell(Event(EventKind.RUN_ENDED, data=self._statistics.as_dict() | {"error": reason}))

    def _loop(self, interrupts: Interrupts) -> None:
        for pool in self._pools.values():
            pool.start(self._started)
        while self._admit():
            interrupts.check()
            now = time.monotonic()
            for pool in self._pools.values():
                pool.tend(now)
            self._launch(now)
            self._observe(now)
            reports = self._executor.wait(self._timeout(now))
            interrupts.check()  # what a stage swallowed must not become a record's failure
            for report in reports:
                self._handle(report)
            self._kill_overdue(now)

    # -- records in and out

    def _admit(self) -> bool:
        """Lets in as many records as there is room for; returns whether anything is left to do."""
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

    def _finish(self, finished: Finished) -> None:
        if rejection := finished.rejection:
            stage = self._statistics.stages[rejection.stage]
            if rejection.status is Status.FAILED:
                self._statistics.failed += 1
                stage.failed += 1
            else:
                self._statistics.quarantined += 1
                stage.quarantined += 1
            data = {"record": finished.record.id, "status": rejection.status.value, "code": rejection.code}
            data |= {"sentence": rejection.sentence, "attempts": finished.attempts}
            self._tell(Event(EventKind.RECORD_REJECTED, rejection.stage, data))
        else:
            self._statistics.ok += 1
        self._sink(finished)

    # -- batches out and back

    def _launch(self, now: float) -> None:
        """Sends out batches, the stages furthest down first, so that what is begun gets finished."""
        for spec in reversed(self._pipeline.order):
            queue, pool, statistics = self._flow.queues[spec.name], self._pools[spec.name], self._stage(spec.name)
            while group := queue.pop_due(now):
                self._recovery.come_back(group)
            above = self._pipeline.ancestors[spec.name]
            coming = not self._admission.exhausted or any(
                len(self._flow.queues[name]) or self._pools[name].n_running for name in above
            )
            while free := pool.free_worker():
                number, idle = free
                taken = queue.take(now, more_coming=coming, worker_idle=idle)
                if taken is None:
                    break
                group, alone = taken
                works = [work for work in group if work.wanted]
                for work in group:
                    if not work.wanted:
                        self._flow.abandon(work)
                if works:
                    statistics.wait_s += sum(now - work.waiting_since for work in works)
                    batch = pool.submit(number, works, now, alone=alone)
                    self._batches[batch.ticket] = batch

    def _handle(self, report: Report) -> None:
        now = time.monotonic()
        if isinstance(report, WorkerReady):
            pool = self._pool_of(report.worker)
            pool.set_ready(report.worker)
            self._tell(Event(EventKind.WORKER_READY, pool.spec.name, {"worker": report.worker}))
            return
        if isinstance(report, WorkerLost):
            self._lose_worker(report.worker, report.cause, report.sentence)
            return
        batch = self._batches.pop(report.ticket)
        pool = self._pools[batch.stage]
        pool.take_back(batch, now)
        match report:
            case BatchDone():
                self._sort_outcomes(batch, report)
            case BatchFailed(failure=failure, seconds=seconds):
                self._recovery.batch_failed(batch, batch.works, failure, seconds)
            case PayloadLost(sentence=sentence):
                self._recovery.payload_lost(batch, sentence)

    def _sort_outcomes(self, batch: Batch, done: BatchDone) -> None:
        statistics = self._stage(batch.stage)
        statistics.batches += 1
        statistics.filled += len(batch.works)
        statistics.busy_s += done.seconds
        share = done.seconds / len(batch.works)
        out_of_memory: list[tuple[Work, Failed]] = []
        for work, outcome, reference in zip(batch.works, done.outcomes, done.references, strict=True):
            if isinstance(outcome, Ok):
                statistics.records += 1
                statistics.add_facts(outcome.facts)
                self._flow.succeed(work, outcome, reference, share)
            elif outcome.kind is Kind.OUT_OF_MEMORY:
                out_of_memory.append((work, outcome))
            else:
                self._recovery.outcome_failed(work, outcome)
        if out_of_memory:
            works = [work for work, _ in out_of_memory]
            self._recovery.batch_failed(batch, works, out_of_memory[0][1], share * len(works))

    def _kill_overdue(self, now: float) -> None:
        if not self._executor.parallel:
            return
        for pool in self._pools.values():
            for number in pool.overdue(now):
                self._executor.kill_worker(number)
                self._lose_worker(number, Cause.TIME_LIMIT, f"no result within {pool.spec.time_limit_s:g} s")

    def _lose_worker(self, number: int, cause: Cause, sentence: str) -> None:
        now = time.monotonic()
        pool = self._pool_of(number)
        batches = pool.remove(number, cause, sentence, now)
        for batch in batches:
            del self._batches[batch.ticket]
        self._recovery.worker_lost(pool.spec.name, batches, cause, sentence, now)

    # -- time and statistics

    def _timeout(self, now: float) -> float:
        times = [queue.next_time(now) for queue in self._flow.queues.values()]
        return min([_LONGEST_WAIT_S, *(time - now for time in times if time is not None)])

    def _observe(self, now: float, *, last: bool = False) -> None:
        for name, pool in self._pools.items():
            self._stage(name).advance(
                now - self._seen,
                workers=pool.ready,
                running=pool.n_running,
                running_s=pool.running_s(now),
                queue_depth=len(self._flow.queues[name]),
            )
        self._seen = now
        self._statistics.elapsed_s = now - self._started
        self._statistics.in_flight = self._flow.in_flight
        self._statistics.bytes_in_flight = self._admission.held_bytes
        if last or now - self._told >= self._config.progress_s:
            self._told = now
            self._executor.publish(self._statistics)
            self._tell(Event(EventKind.PROGRESS, data=self._statistics.as_dict()))

    def _stage(self, name: str) -> StageStatistics:
        return self._statistics.stages[name]

    def _pool_of(self, worker: int) -> WorkerPool:
        return next(pool for pool in self._pools.values() if worker in pool)
