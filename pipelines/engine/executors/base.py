"""The interface of executors: the methods by which the engine uses workers, and the reports that they return."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

from manifests.record import Record
from pipelines.engine.graph import StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Stage
from stages.failures import classify_exception

PROGRESS_S = 1.0  # between two reports on a running batch


@dataclass(frozen=True)
class BatchEntry:
    """One record of a batch as the driver sends it."""

    record: Record  # the record
    references: Mapping[str, Any]  # the executor's references to the payloads, by output of the upstream stage


class LossCause(StrEnum):
    """The causes of the loss of a worker."""

    DIED = "worker_died"  # killed by a signal, or crashed; the two cannot be distinguished from outside
    EXITED = "worker_exited"  # the stage ended the process (sys.exit)
    OUT_OF_MEMORY = "out_of_memory"  # killed by the memory monitor of its node
    GPU = "gpu_failed"  # the GPU context failed; every further call in the process fails
    TIME_LIMIT = "time_limit"  # killed by the engine because its batch did not advance within the time limit
    NODE = "node_died"  # the whole node is lost; no record is to blame
    SETUP = "setup_failed"  # `setup` raised


@dataclass(frozen=True)
class WorkerReady:
    """A worker has loaded its models and accepts batches."""

    worker: int  # number of the worker
    node: str | None = None  # node on which it runs and stores payloads; None if all workers share one


@dataclass(frozen=True)
class WorkerLost:
    """A worker and all its batches are lost; reported once, after the batches that the worker finished."""

    worker: int
    cause: LossCause
    sentence: str


@dataclass(frozen=True)
class BatchDone:
    """A batch is finished."""

    ticket: int  # number of the batch
    outcomes: Sequence[Outcome]  # one outcome per entry, without payloads
    references: Sequence[Any]  # one reference per entry, to send to the stages downstream; None where the record failed
    seconds: float  # duration of `run` in the worker


@dataclass(frozen=True)
class BatchFailed:
    """The stage raised instead of returning outcomes."""

    ticket: int
    failure: Failed
    seconds: float = 0.0


@dataclass(frozen=True)
class PayloadLost:
    """A payload that the batch needs was lost with the node that stored it; `run` was not called."""

    ticket: int
    sentence: str


WorkerReport: TypeAlias = WorkerReady | WorkerLost | BatchDone | BatchFailed | PayloadLost


@dataclass(frozen=True)
class BatchProgress:
    """The state of a running batch."""

    ticket: int  # number of the batch
    fraction: float  # finished fraction of the batch, 0 to 1
    units: float  # amount of finished work, in the unit of the stage
    seconds: float  # time since the start of `run`


ProgressCallback: TypeAlias = Callable[[Sequence[BatchProgress]], None]
"""Callback for the state of running batches."""


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """The location of the workers; an executor ignores options that it does not support."""

    # address of a running cluster (`auto`, `host:6379`, `ray://host:10001`); None for that in `RAY_ADDRESS`, if any
    address: str | None = None
    # num_cpus, num_gpus: resources to offer on this machine; None for all
    num_cpus: int | None = None
    num_gpus: int | None = None
    required_cpus: float = 0.0  # CPUs that all workers of the run reserve together
    object_store_bytes: int | None = None  # memory for payloads on this machine; None for the executor's default
    dashboard: bool = False  # whether to start a dashboard on this machine

    @property
    def cluster(self) -> str | None:
        """Address of the running cluster; None starts workers on this machine."""
        return self.address or os.environ.get("RAY_ADDRESS")  # set inside `ray job submit`


class Executor(ABC):
    """The interface by which the engine starts workers, sends batches to them and receives results.

    Attributes:
        parallel: whether workers run in parallel to the driver, so that a worker that hangs can be killed.
    """

    parallel: ClassVar[bool]

    @abstractmethod
    def __init__(self, config: ExecutorConfig | None = None) -> None: ...

    @staticmethod
    def count_gpus(config: ExecutorConfig) -> int:
        """Count the GPUs that workers can use; 0 for workers that share the devices of this process."""
        return 0

    @abstractmethod
    def open(self) -> None:
        """Connect to the service that runs the workers."""

    def count_workers(self, spec: StageSpec) -> int:
        """Return the number of workers that a stage gets: the configured one."""
        return spec.workers

    @abstractmethod
    def describe_resources(self) -> str:
        """Describe the resources available to a stage that waits for a worker."""

    @abstractmethod
    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Start a worker with a new number and call its `setup`; `wait` reports it as ready or lost."""

    def find_obstacles(self, waiting: Sequence[int], idle: Sequence[int]) -> list[int]:
        """Return the workers that must end so that workers of a stage can start, whose resources they have.

        Args:
            waiting: numbers of workers that are not ready.
            idle: numbers of workers of other stages that may end, in the order in which they should.

        Returns:
            Workers that must end; none if all others are starting, or if the end of others would not let them start.
        """
        return []

    @abstractmethod
    def submit(self, worker: int, ticket: int, entries: Sequence[BatchEntry]) -> None:
        """Send a batch to a ready worker, which runs its batches one by one in the order of submission."""

    @abstractmethod
    def wait(self, timeout_s: float, on_progress: ProgressCallback) -> list[WorkerReport]:
        """Return reports as soon as there are any, at the latest after `timeout_s`.

        Args:
            timeout_s: maximum time to wait.
            on_progress: callback for the state of running batches, called meanwhile, about once a second.
        """

    @abstractmethod
    def kill_worker(self, worker: int) -> None:
        """End a worker immediately; neither it nor its batches are reported afterwards."""

    def publish(self, statistics: RunStatistics) -> None:  # noqa: B027 (optional)
        """Publish the state of the run, for instance on a dashboard."""

    @abstractmethod
    def close(self) -> None:
        """End all workers immediately and disconnect."""


@dataclass(frozen=True)
class BatchResult:
    """The result that a worker sends to the driver: outcomes without payloads, or the failure of the batch."""

    outcomes: tuple[Outcome, ...]
    failure: Failed | None
    seconds: float

    @property
    def broken(self) -> Failed | None:
        """Return the failure that made the worker unusable, or None."""
        return self.failure if self.failure and self.failure.kind is FailureKind.BROKEN else None

    def to_report(self, ticket: int, references: Sequence[Any]) -> BatchDone | BatchFailed:
        """Return the report for the engine."""
        if self.failure:
            return BatchFailed(ticket, self.failure, self.seconds)
        ok_references = [ref if isinstance(o, Ok) else None for o, ref in zip(self.outcomes, references, strict=True)]
        return BatchDone(ticket, self.outcomes, ok_references, self.seconds)


def run_batch(
    stage: Stage, items: Sequence[Item], ticket: int, send: Callable[[BatchProgress], None]
) -> tuple[BatchResult, list[Any]]:
    """Run a batch inside a worker; all executors use this function.

    Args:
        stage: stage after `setup`.
        items: items of the batch.
        ticket: number of the batch.
        send: function that sends the state of the running batch to the engine, called at most once a second.

    Returns:
        The result without payloads, and one payload per item (None for failed records).
    """
    start = sent = time.perf_counter()

    def report_progress(fraction: float, units: float) -> None:
        nonlocal sent
        now = time.perf_counter()
        if now - sent >= PROGRESS_S:
            sent = now
            send(BatchProgress(ticket, fraction, units, now - start))

    stage.on_progress = report_progress
    try:
        outcomes = stage.run(items)
        failure = _check_contract(stage, items, outcomes)
        failure = failure or next((o for o in outcomes if isinstance(o, Failed) and o.kind is FailureKind.BROKEN), None)
    except Exception as error:
        outcomes, failure = [], classify_exception(error)
    finally:
        stage.on_progress = None
    seconds = time.perf_counter() - start
    if failure:
        return BatchResult((), failure, seconds), [None] * len(items)

    payloads = [outcome.payload if isinstance(outcome, Ok) else None for outcome in outcomes]
    light = tuple(replace(outcome, payload=None) if isinstance(outcome, Ok) else outcome for outcome in outcomes)
    return BatchResult(light, None, seconds), payloads


def _check_contract(stage: Stage, items: Sequence[Item], outcomes: object) -> Failed | None:
    name = type(stage).__name__
    if not isinstance(outcomes, list) or not all(isinstance(outcome, Ok | Failed) for outcome in outcomes):
        return Failed(
            FailureKind.POISON, "stage_contract", f"{name}.run returned {type(outcomes).__name__}, not outcomes"
        )
    if len(outcomes) != len(items):
        return Failed(
            FailureKind.POISON, "stage_contract", f"{name}.run: {len(outcomes)} outcomes for {len(items)} records"
        )
    return None
