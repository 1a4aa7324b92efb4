"""The interface of an executor: the few methods by which the engine uses workers, and the reports it gets back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from manifests.record import Record
from pipelines.engine.graph import StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Stage, classify_exception


@dataclass(frozen=True)
class Entry:
    """One record of a batch as the driver sends it.

    Attributes:
        record: the record.
        references: by output of the upstream stage, what the executor gave for its payload.
    """

    record: Record
    references: Mapping[str, Any]


class Cause(StrEnum):
    """Why a worker is gone."""

    DIED = "worker_died"  # killed by a signal or crashed; nobody can tell from outside by whom
    EXITED = "worker_exited"  # ended itself (sys.exit)
    OUT_OF_MEMORY = "out_of_memory"  # killed by the memory monitor of its machine
    GPU = "gpu_failed"  # its GPU context failed and answers nothing but errors until the process ends
    TIME_LIMIT = "time_limit"  # killed by the engine because its batch hung
    NODE = "node_died"  # its whole machine is gone; no record is to blame
    SETUP = "setup_failed"  # `setup` raised


@dataclass(frozen=True)
class WorkerReady:
    """The worker has loaded its models and takes batches."""

    worker: int


@dataclass(frozen=True)
class WorkerLost:
    """The worker and all batches it held are gone. Reported once, after all that it finished."""

    worker: int
    cause: Cause
    sentence: str


@dataclass(frozen=True)
class BatchDone:
    """A batch came back.

    Attributes:
        ticket: of the batch.
        outcomes: one per entry, without payloads.
        references: one per entry, to be sent on to the stages downstream; `None` where the record failed.
        seconds: that `run` took in the worker.
    """

    ticket: int
    outcomes: Sequence[Outcome]
    references: Sequence[Any]
    seconds: float


@dataclass(frozen=True)
class BatchFailed:
    """The stage raised instead of returning outcomes."""

    ticket: int
    failure: Failed
    seconds: float = 0.0


@dataclass(frozen=True)
class PayloadLost:
    """A payload that the batch needs is gone, with the machine that held it; `run` was not called."""

    ticket: int
    sentence: str


WorkerReport: TypeAlias = WorkerReady | WorkerLost | BatchDone | BatchFailed | PayloadLost


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where the workers run; an executor ignores what it has no use for.

    Attributes:
        address: address of a running cluster (`auto`, `host:6379`, `ray://host:10001`); `None` starts workers on this
            machine.
        num_cpus, num_gpus: resources to offer on this machine; `None` for all.
        object_store_bytes: memory for payloads on this machine; `None` for the executor's own choice.
        dashboard: whether to start a dashboard on this machine.
    """

    address: str | None = None
    num_cpus: int | None = None
    num_gpus: int | None = None
    object_store_bytes: int | None = None
    dashboard: bool = False


class Executor(Protocol):
    """Starts workers and carries batches to them and results back. Everything else is done by the engine.

    Attributes:
        parallel: whether workers run in parallel to the driver, so that one that hangs can be killed.

    Args:
        config: where the workers run.
    """

    parallel: bool

    def __init__(self, config: ExecutorConfig | None = None) -> None: ...

    @staticmethod
    def count_gpus(config: ExecutorConfig) -> int:
        """Count the GPUs that workers can use."""
        ...

    def open(self) -> None:
        """Connects to what runs the workers."""
        ...

    def count_workers(self, spec: StageSpec) -> int:
        """How many workers the stage gets here."""
        ...

    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Starts a worker and its `setup`; `wait` reports it ready or lost. `worker` is a new number."""
        ...

    def submit(self, worker: int, ticket: int, entries: Sequence[Entry]) -> None:
        """Sends a batch to a ready worker, which runs its batches one by one, in this order."""
        ...

    def wait(self, timeout_s: float) -> list[WorkerReport]:
        """Returns as soon as there is something to report, at the latest after `timeout_s`."""
        ...

    def kill_worker(self, worker: int) -> None:
        """Ends a worker at once; neither it nor its batches are reported any more."""
        ...

    def publish(self, statistics: RunStatistics) -> None:
        """Shows the state of the run where the executor has a place for it."""
        ...

    def close(self) -> None:
        """Ends all workers at once and disconnects."""
        ...


@dataclass(frozen=True)
class BatchResult:
    """What a worker sends to the driver: outcomes without payloads, or why there are none."""

    outcomes: tuple[Outcome, ...]
    failure: Failed | None
    seconds: float

    @property
    def broken(self) -> Failed | None:
        """Return the failure that made the worker unusable, or None."""
        return self.failure if self.failure and self.failure.kind is FailureKind.BROKEN else None

    def report(self, ticket: int, references: Sequence[Any]) -> BatchDone | BatchFailed:
        """Return the report for the engine."""
        if self.failure:
            return BatchFailed(ticket, self.failure, self.seconds)
        kept = [ref if isinstance(o, Ok) else None for o, ref in zip(self.outcomes, references, strict=True)]
        return BatchDone(ticket, self.outcomes, kept, self.seconds)


def run_batch(stage: Stage, items: Sequence[Item]) -> tuple[BatchResult, list[Any]]:
    """Runs a batch inside a worker; the same for all executors.

    Args:
        stage: set up.
        items: the batch.

    Returns:
        The result without payloads, and one payload per item (`None` where there is none).
    """
    start = time.perf_counter()
    try:
        outcomes = stage.run(items)
        failure = _contract_broken(stage, items, outcomes)
        failure = failure or next((o for o in outcomes if isinstance(o, Failed) and o.kind is FailureKind.BROKEN), None)
    except Exception as error:
        outcomes, failure = [], classify_exception(error)
    seconds = time.perf_counter() - start
    if failure:
        return BatchResult((), failure, seconds), [None] * len(items)
    payloads = [outcome.payload if isinstance(outcome, Ok) else None for outcome in outcomes]
    small = tuple(replace(outcome, payload=None) if isinstance(outcome, Ok) else outcome for outcome in outcomes)
    return BatchResult(small, None, seconds), payloads


def _contract_broken(stage: Stage, items: Sequence[Item], outcomes: object) -> Failed | None:
    name = type(stage).__name__
    if not isinstance(outcomes, list) or not all(isinstance(outcome, Ok | Failed) for outcome in outcomes):
        return Failed(FailureKind.POISON, "stage_contract", f"{name}.run returned {type(outcomes).__name__}, not outcomes")
    if len(outcomes) != len(items):
        return Failed(FailureKind.POISON, "stage_contract", f"{name}.run: {len(outcomes)} outcomes for {len(items)} records")
    return None
