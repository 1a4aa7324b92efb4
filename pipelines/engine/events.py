"""Events of a run, for the progress display and `events.jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias


class EventKind(StrEnum):
    """The kinds of events."""

    RUN_STARTED = "run_started"
    WORKER_READY = "worker_ready"
    WORKER_LOST = "worker_lost"
    WORKER_ENDED = "worker_ended"  # an idle one, for a stage with work whose workers find no room; data: `sentence`
    WAITING = "waiting"  # a stage has no worker yet; data: `sentence`, what it waits for
    BATCH_RETRIED = "batch_retried"
    RECORD_REJECTED = "record_rejected"
    PROGRESS = "progress"  # at regular intervals; data: RunStatistics.as_dict()
    RUN_ENDED = "run_ended"  # data: RunStatistics.as_dict() and `error`, why the run ended early, or None


@dataclass(frozen=True)
class Event:
    """One event of a run."""

    kind: EventKind  # kind of the event
    stage: str | None = None  # name of the stage; None if the event concerns the whole run
    data: Mapping[str, Any] = field(default_factory=dict)  # details; plain values for JSON


EventCallback: TypeAlias = Callable[[Event], None]
