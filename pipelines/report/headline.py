"""The headline of a report: records, hours of video, rates, computing time by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.events import EventKind
from pipelines.engine.statistics import RunStatistics, StageStatistics, parse_statistics
from pipelines.report.rows import OutcomeRows

FRAME_STAGES = ("render", "animal_render")  # stages that generate frames
SUMS = ("busy_s", "lost_s", "retries", "worker_crashes")  # figures that are summed over the stages
SCORE_STAGE = "score"  # the stage that counts frames in runs that generate none


@dataclass
class StageFigures:
    """Figures of one stage over all parts of a run; seconds are summed over its workers."""

    name: str  # name of the stage
    busy_s: float = 0.0  # computing time
    lost_s: float = 0.0  # computing time without a result: batches that raised or were lost with their worker
    gpu_s: float = 0.0  # sum of `busy_s` and `lost_s`, weighted with the GPU share of a worker
    # records, shared: number of computed results, and of results shared with another record
    records: int = 0
    shared: int = 0
    # batches, filled, room: number of batches, of records in them, and of records that would have fitted
    batches: int = 0
    filled: int = 0
    room: int = 0
    # retries, worker_crashes: number of records that were run again, and of lost workers
    retries: int = 0
    worker_crashes: int = 0
    frames: int = 0  # number of frames generated or scored

    @property
    def batch_fill(self) -> float | None:
        """Mean fill of the batches, 0 to 1."""
        return self.filled / self.room if self.room else None


@dataclass(frozen=True)
class Headline:
    """The key figures of a run."""

    records: int  # number of records of the manifest
    pending: int  # number of records without an outcome row
    statuses: Mapping[str, int]  # number of the other records by status
    # video_s, frames: seconds and frames of the finished videos
    video_s: float
    frames: int
    retried: int  # number of records with more than one attempt
    parts: int = 0  # number of times that the run was started or resumed
    torn_parts: int = 0  # number of parts that crashed; their figures are those of the last progress event
    elapsed_s: float = 0.0  # elapsed time of all parts
    gpus: float = 0.0  # maximum number of GPUs in use
    gpu_s: float = 0.0  # number of GPUs multiplied by the elapsed time
    frames_made: int = 0  # number of frames computed in all parts, including retries of finished records
    stages: list[StageFigures] = field(default_factory=list)  # figures by stage, in order
    # busy_s, lost_s, retries, worker_crashes: sums over the stages
    busy_s: float = 0.0
    lost_s: float = 0.0
    retries: int = 0
    worker_crashes: int = 0

    @property
    def frames_per_gpu_s(self) -> float | None:
        """Frames per second and GPU, including start-up and waiting."""
        return self.frames_made / self.gpu_s if self.gpu_s else None

    @property
    def frames_per_s(self) -> float | None:
        """Frames per second of the whole run."""
        return self.frames_made / self.elapsed_s if self.elapsed_s and self.frames_made else None

    @property
    def batch_fill(self) -> float | None:
        """Mean fill of the batches, 0 to 1, weighted with the computing time of their stage."""
        stages = [stage for stage in self.stages if stage.batch_fill is not None]
        busy = sum(stage.busy_s for stage in stages)
        return sum((stage.batch_fill or 0) * stage.busy_s for stage in stages) / busy if busy else None


def build_headline(rows: OutcomeRows, events: Iterable[Mapping[str, Any]], *, records: int) -> Headline:
    """Compute the headline from outcome rows and the statistics of all parts of a run."""
    parts = _split_parts(events)
    stages: dict[str, StageFigures] = {}
    for part in parts:
        for name, numbers in part.last.stages.items():
            _add(stages.setdefault(name, StageFigures(name)), numbers)
    if not any(stage.busy_s for stage in stages.values()):  # events were removed: use the seconds of the rows
        stages = {name: StageFigures(name, busy_s=seconds) for name, seconds in rows.seconds.items()}

    frame_stages = [name for name in FRAME_STAGES if name in stages] or [SCORE_STAGE]
    return Headline(
        records=records,
        pending=records - rows.n_rows,
        statuses=dict(rows.statuses),
        video_s=rows.duration_s,
        frames=rows.frames,
        retried=rows.retried,
        parts=len(parts),
        torn_parts=sum(not part.ended for part in parts),
        elapsed_s=sum(part.last.elapsed_s for part in parts),
        gpus=max((part.gpus for part in parts), default=0.0),
        gpu_s=sum(part.gpus * part.last.elapsed_s for part in parts),
        frames_made=sum(stages[name].frames for name in frame_stages if name in stages),
        stages=[*stages.values()],
        **{name: sum(getattr(stage, name) for stage in stages.values()) for name in SUMS},
    )


@dataclass
class _Part:
    last: RunStatistics = field(default_factory=lambda: RunStatistics({}))
    gpus: float = 0.0
    ended: bool = False


def _split_parts(events: Iterable[Mapping[str, Any]]) -> list[_Part]:
    """Split the events at each start of the run."""
    parts: list[_Part] = []
    for event in events:
        kind = event.get("event")
        if kind == EventKind.RUN_STARTED:
            parts.append(_Part())
        elif kind in (EventKind.PROGRESS, EventKind.RUN_ENDED) and parts and (last := parse_statistics(event)):
            part = parts[-1]
            gpus = sum(stage.num_gpus * stage.workers for stage in last.stages.values())
            part.last, part.gpus, part.ended = last, max(part.gpus, gpus), kind == EventKind.RUN_ENDED
    return parts


def _add(stage: StageFigures, numbers: StageStatistics) -> None:
    for name in (*SUMS, "records", "shared", "batches", "filled"):
        setattr(stage, name, getattr(stage, name) + getattr(numbers, name))
    stage.gpu_s += (numbers.busy_s + numbers.lost_s) * numbers.num_gpus
    stage.room += numbers.batches * numbers.batch_size
    stage.frames += int(numbers.totals.get("frames", 0))
