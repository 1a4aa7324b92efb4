"""What a run tells while it goes on: for the progress display and `events.jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias


class EventKind(StrEnum):
    """What happened."""

    RUN_STARTED = "run_started"
    WORKER_READY = "worker_ready"
    WORKER_LOST = "worker_lost"
    BATCH_RETRIED = "batch_retried"
    RECORD_REJECTED = "record_rejected"
    PROGRESS = "progress"  # at regular times; data: RunStatistics.as_dict()
    RUN_ENDED = "run_ended"  # data: RunStatistics.as_dict() and `error`, the sentence of what ended it early


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: what.
        stage: where, if at one stage.
        data: details; plain values for JSON.
    """

    kind: EventKind
    stage: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


Listener: TypeAlias = Callable[[Event], None]
