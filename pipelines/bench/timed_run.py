"""Run records through a pipeline and measure when they finish."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joyvasa.errors import EnvironmentFault
from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.bench.instrumented import InstrumentedStage, WorkerLog
from pipelines.engine import loop as engine
from pipelines.engine.executors.base import Executor
from pipelines.engine.graph import Pipeline
from pipelines.engine.statistics import RunStatistics
from pipelines.engine.tasks import FinishedRecord
from stages.base import Stage

SAME_BATCH_S = 0.02  # records that finish within this time count as one batch


@dataclass(frozen=True)
class TimedRun:
    """Times and statistics of one run."""

    ready_at: float  # time when the workers of all stages had loaded their models, seconds since the epoch
    finished_at: tuple[float, ...]  # time when each record finished, in order
    frames: int  # number of frames of all videos
    statistics: RunStatistics  # statistics of the engine
    log: WorkerLog  # log of the workers

    @property
    def elapsed_s(self) -> float:
        """Time from ready workers to the last record, including filling and draining the pipeline."""
        return self.finished_at[-1] - self.ready_at

    @property
    def records_per_s(self) -> float:
        """Rate over `elapsed_s`."""
        return len(self.finished_at) / self.elapsed_s

    @property
    def steady_records_per_s(self) -> float:
        """Rate after the first finished batch; `records_per_s` if there was only one batch."""
        first, last = self.finished_at[0], self.finished_at[-1]
        n_first = sum(at <= first + SAME_BATCH_S for at in self.finished_at)
        n_later = len(self.finished_at) - n_first
        return n_later / (last - first) if n_later else self.records_per_s

    @property
    def peak_bytes(self) -> int | None:
        """Peak memory of the largest worker process; None if it cannot be measured."""
        stages = self.statistics.stages
        entries = [entry for stage in stages for worker in self.log.entries(stage) for entry in worker]
        return max((entry["peak_bytes"] for entry in entries if entry.get("peak_bytes")), default=None)

    @property
    def frames_per_record(self) -> float:
        """Mean number of frames per video."""
        return self.frames / len(self.finished_at)


def run_once(
    pipeline: Pipeline, records: Sequence[Record], executor: Executor, folder: Path, *, recording: Path | None = None
) -> TimedRun:
    """Run records through a pipeline; the first stage starts when all workers are ready.

    Args:
        pipeline: pipeline whose first stage does not share results.
        records: records, all of which must succeed.
        executor: executor of the workers.
        folder: new folder for the log of the workers.
        recording: see `InstrumentedStage`.

    Raises:
        EnvironmentFault: `bench_record_failed`.
    """
    folder.mkdir(parents=True)
    log = WorkerLog(folder, sum(executor.count_workers(spec) for spec in pipeline.stages))
    first = pipeline.order[0].name

    def instrumented(name: str, stage: Stage) -> Stage:
        return InstrumentedStage(stage, name, log, first=name == first, recording=recording)

    specs = (dataclasses.replace(spec, stage=instrumented(spec.name, spec.stage)) for spec in pipeline.stages)
    finished: list[tuple[float, FinishedRecord]] = []
    statistics = engine.run_pipeline(
        Pipeline(tuple(specs)), records, lambda record: finished.append((time.time(), record)), executor=executor
    )

    for _, record in finished:
        if record.status is not Status.OK and record.rejection:
            raise EnvironmentFault(
                "bench_record_failed",
                f"record {record.record.id} at stage {record.rejection.stage}: {record.rejection.sentence}; expected "
                "all records to succeed: fix the cause, then measure again",
            )
    frames = sum(int(record.facts.get("render", {}).get("frames") or 0) for _, record in finished)
    return TimedRun(log.ready_at(), tuple(at for at, _ in finished), frames, statistics, log)
