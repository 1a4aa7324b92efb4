"""Records in flight, their payloads, and the tasks that workers run for them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.engine.graph import Route
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
