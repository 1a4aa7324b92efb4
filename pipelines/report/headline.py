"""What a run did: records, hours of video, rates, where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.events import EventKind
from pipelines.report.rows import RunRows

FRAME_STAGES = ("render", "animal_render")  # that make frames; a run that makes none has them measured
MEASURING_STAGE = "score"


@dataclass
class StageFigures:
    """One stage over all parts of a run; seconds are summed over its workers.

    Args:
        name: of the stage.
        busy_s: computing.
        lost_s: computing for nothing: batches that raised or died with their worker.
        gpu_s: of `busy_s` and `lost_s`, weighted with the share of a GPU that a worker holds.
        records, shared: results computed, and those taken from another record.
        batches, filled, room: batches, records in them, records that would have fitted.
        retries, worker_crashes: records sent again, workers lost.
        frames: made or measured.
    """

    name: str
    busy_s: float = 0.0
    lost_s: float = 0.0
    gpu_s: float = 0.0
    records: int = 0
    shared: int = 0
    batches: int = 0
    filled: int = 0
    room: int = 0
    retries: int = 0
    worker_crashes: int = 0
    frames: int = 0

    @property
    def batch_fill(self) -> float | None:
        """How full batches were, 0 to 1."""
        return self.filled / self.room if self.room else None


@dataclass(frozen=True)
class Headline:
    """A run in a dozen figures.

    Args:
        records: of the manifest.
        pending: of them without an outcome row yet.
        statuses: of the others.
        video_s, frames: of finished videos.
        retried: records that took more than one attempt.
        parts: times that the run was begun or resumed.
        torn_parts: of them those that ended without a word; their figures are those of the last note before.
        elapsed_s: of all parts.
        gpus: most that were held at a time.
        gpu_s: GPUs held times elapsed time.
        frames_made: in these parts, retries of finished records too.
        stages: in order.
    """

    records: int
    pending: int
    statuses: Mapping[str, int]
    video_s: float
    frames: int
    retried: int
    parts: int = 0
    torn_parts: int = 0
    elapsed_s: float = 0.0
    gpus: float = 0.0
    gpu_s: float = 0.0
    frames_made: int = 0
    stages: list[StageFigures] = field(default_factory=list)

    @property
    def frames_per_gpu_s(self) -> float | None:
        """Frames per second of each GPU that was held, start-up and waiting included."""
        return self.frames_made / self.gpu_s if self.gpu_s else None

    @property
    def frames_per_s(self) -> float | None:
        """Frames per second of the whole run."""
        return self.frames_made / self.elapsed_s if self.elapsed_s and self.frames_made else None

    @property
    def busy_s(self) -> float:
        """Computing time of all stages."""
        return sum(stage.busy_s for stage in self.stages)

    @property
    def lost_s(self) -> float:
        """Computing time that gave nothing."""
        return sum(stage.lost_s for stage in self.stages)

    @property
    def retries(self) -> int:
        """Records sent again."""
        return sum(stage.retries for stage in self.stages)

    @property
    def worker_crashes(self) -> int:
        """Workers lost."""
        return sum(stage.worker_crashes for stage in self.stages)

    @property
    def batch_fill(self) -> float | None:
        """How full batches were, 0 to 1, weighted with the computing time of their stage."""
        stages = [stage for stage in self.stages if stage.batch_fill is not None]
        busy = sum(stage.busy_s for stage in stages)
        return sum((stage.batch_fill or 0) * stage.busy_s for stage in stages) / busy if busy else None


def headline(rows: RunRows, events: Iterable[Mapping[str, Any]], *, records: int) -> Headline:
    """Adds up outcome rows and the statistics of all parts of a run.

    Args:
        rows: that were read.
        events: of `events.jsonl`.
        records: of the manifest.
    """
    parts = _parts(events)
    stages: dict[str, StageFigures] = {}
    for part in parts:
        for name, numbers in part.last.get("stages", {}).items():
            _add(stages.setdefault(name, StageFigures(name)), numbers)
    if not any(stage.busy_s for stage in stages.values()):  # events were removed: the rows know the seconds
        stages = {name: StageFigures(name, busy_s=seconds) for name, seconds in rows.seconds.items()}
    makers = [name for name in FRAME_STAGES if name in stages] or [MEASURING_STAGE]
    return Headline(
        records=records,
        pending=records - rows.n_rows,
        statuses=dict(rows.statuses),
        video_s=rows.duration_s,
        frames=rows.frames,
        retried=rows.retried,
        parts=len(parts),
        torn_parts=sum(not part.ended for part in parts),
        elapsed_s=sum(part.elapsed_s for part in parts),
        gpus=max((part.gpus for part in parts), default=0.0),
        gpu_s=sum(part.gpus * part.elapsed_s for part in parts),
        frames_made=sum(stages[name].frames for name in makers if name in stages),
        stages=[*stages.values()],
    )


@dataclass
class _Part:
    last: Mapping[str, Any] = field(default_factory=dict)  # statistics
    gpus: float = 0.0
    ended: bool = False

    @property
    def elapsed_s(self) -> float:
        return float(self.last.get("elapsed_s", 0.0))


def _parts(events: Iterable[Mapping[str, Any]]) -> list[_Part]:
    """From one start of the run to the next."""
    parts: list[_Part] = []
    for event in events:
        kind = event.get("event")
        if kind == EventKind.RUN_STARTED:
            parts.append(_Part())
        elif kind in (EventKind.PROGRESS, EventKind.RUN_ENDED) and parts and isinstance(event.get("stages"), dict):
            part = parts[-1]
            held = sum(stage.get("num_gpus", 0) * stage.get("workers", 0) for stage in event["stages"].values())
            part.last, part.gpus, part.ended = event, max(part.gpus, held), kind == EventKind.RUN_ENDED
    return parts


def _add(stage: StageFigures, numbers: Mapping[str, Any]) -> None:
    """Adds one part; a note of an older version may lack figures."""
    busy_s, lost_s = numbers.get("busy_s", 0.0), numbers.get("lost_s", 0.0)
    stage.busy_s += busy_s
    stage.lost_s += lost_s
    stage.gpu_s += (busy_s + lost_s) * numbers.get("num_gpus", 0.0)
    for name in ("records", "shared", "batches", "filled", "retries", "worker_crashes"):
        setattr(stage, name, getattr(stage, name) + numbers.get(name, 0))
    stage.room += numbers.get("batches", 0) * numbers.get("batch_size", 1)
    stage.frames += int(numbers.get("totals", {}).get("frames", 0))
