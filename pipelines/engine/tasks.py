"""What the driver knows of a record while it is on its way."""

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
    """Why a record ended before the last stage."""

    status: Status
    stage: str
    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A record that has left the pipeline.

    Attributes:
        record: the record.
        rejection: why it failed; `None` if it is ok.
        attempts: most runs that one stage needed for it; 1 if nothing went wrong.
        seconds: by output, its share of the batches that it was computed in; 0 where it shared a result.
        facts: by output, what the stage reported about it.
    """

    record: Record
    rejection: Rejection | None
    attempts: int
    seconds: Mapping[str, float]
    facts: Mapping[str, Mapping[str, Fact]]

    @property
    def status(self) -> Status:
        """How it ended."""
        return self.rejection.status if self.rejection else Status.OK


class Payload:
    """A result that lies with the workers; the driver holds a reference, and with it keeps the result alive."""

    __slots__ = ("__weakref__", "facts", "lost", "n_bytes", "reference")

    def __init__(self, reference: Any, facts: Mapping[str, Fact]) -> None:
        self.reference = reference
        self.facts = facts
        size = facts.get("bytes")
        self.n_bytes = int(size) if isinstance(size, int | float) else 0
        self.lost = False


@dataclass(slots=True, eq=False)
class RecordState:
    """A record in flight.

    Attributes:
        record: the record.
        route: the stages that it passes; one for each output.
        payloads: by output, what stages further down still need.
        facts, seconds: by output, for the record's row.
        done: outputs of stages passed.
        pending: outputs of stages that wait for a worker, run, or wait for a shared result.
        attempts: most runs that one stage needed.
        replays: how often a payload of it was lost.
        closed: it has left the pipeline; what still runs for it is ignored.
    """

    record: Record
    route: Route
    payloads: dict[str, Payload] = field(default_factory=dict)
    facts: dict[str, Mapping[str, Fact]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    attempts: int = 1
    replays: int = 0
    closed: bool = False


@dataclass(slots=True, eq=False)
class StageTask:
    """One computation of one stage, for one record or for all that share its result.

    Attributes:
        stage: name of the stage.
        waiters: records that get the result.
        inputs: payloads by output.
        key: key by which the result is shared; `None` if it is not.
        bucket: value that all tasks of a batch have in common.
        waiting_since: time at which the task was queued.
        runs: number of times that a worker started it.
        io_failures: number of failures of a file or service.
        solo_failures: number of times that it crashed its worker, raised or ran out of memory alone in its batch.
        worker_crashes: number of workers lost by an unknown cause while they ran it.
        other_crashes: number of workers lost without it, when it was last suspected.
    """

    stage: str
    waiters: list[RecordState]
    inputs: dict[str, Payload]
    key: Hashable | None
    bucket: Hashable
    waiting_since: float
    runs: int = 0
    io_failures: int = 0
    solo_failures: int = 0
    worker_crashes: int = 0
    other_crashes: int = 0

    @property
    def wanted(self) -> bool:
        """Whether a record still needs it."""
        return any(not state.closed for state in self.waiters)

    @property
    def leader(self) -> RecordState:
        """The record that it is computed with."""
        return next((state for state in self.waiters if not state.closed), self.waiters[0])
