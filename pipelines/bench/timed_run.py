"""Run records through a pipeline of stages that log their times and memory, and measure when they finish."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joyvasa.errors import EnvironmentFault
from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.bench.timing import process_memory
from pipelines.engine import loop as engine
from pipelines.engine.executors.base import Executor
from pipelines.engine.graph import Pipeline
from pipelines.engine.statistics import RunStatistics
from pipelines.engine.tasks import FinishedRecord
from stages.base import Item, Outcome, Stage

MAX_START_S = 1800.0  # start-up time of the workers of all stages
_POLL_S = 0.01
REPEAT_MARK = "~"  # separates the id of a recorded record from the number of its repetition


@dataclass(frozen=True)
class WorkerLog:
    """Log files of the workers of one run."""

    folder: Path  # local folder of the files
    n_workers: int  # number of workers of all stages; the first stage starts when all are ready

    def write(self, stage: str, worker: str, entry: Mapping[str, Any]) -> None:
        """Append an entry to the log of a worker."""
        with (self.folder / f"{stage}.{worker}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def wait_for_workers(self) -> None:
        """Wait until all workers have loaded their models.

        Raises:
            TimeoutError: workers are missing after `MAX_START_S`.
        """
        limit = time.time() + MAX_START_S
        while len(files := list(self.folder.glob("*.ready"))) < self.n_workers:
            if time.time() > limit:
                raise TimeoutError(f"{len(files)} of {self.n_workers} workers were ready in {MAX_START_S:g} s")
            time.sleep(_POLL_S)

    def ready_at(self) -> float:
        """Return when the last worker became ready, seconds since the epoch."""
        return max(file.stat().st_mtime for file in self.folder.glob("*.ready"))

    def entries(self, stage: str) -> list[list[dict[str, Any]]]:
        """Return the entries of each worker of a stage, in order of time."""
        return [
            [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            for file in sorted(self.folder.glob(f"{stage}.*.jsonl"))
        ]


class InstrumentedStage(Stage):
    """Wrap a stage to log the time of its set-up and of each batch, and the memory of its process.

    Args:
        stage: wrapped stage.
        name: name of the stage.
        log: log of the run.
        first: wait before the first batch until the workers of all stages are ready.
        recording: folder where the inputs of each record are saved for `ReplayStage`; None to save nothing.
    """

    def __init__(
        self, stage: Stage, name: str, log: WorkerLog, *, first: bool = False, recording: Path | None = None
    ) -> None:
        self._stage, self._name, self._log = stage, name, log
        self.copy_declaration(stage)
        self._must_wait, self._recording = first, recording

    def setup(self) -> None:
        """Set up the wrapped stage and mark this worker as ready."""
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        started = time.perf_counter()
        self._stage.setup()
        self._log.write(self._name, self._worker, {"setup_s": time.perf_counter() - started})
        (self._log.folder / f"{self._name}.{self._worker}.ready").touch()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Run the wrapped stage and log its time."""
        if self._must_wait:
            self._log.wait_for_workers()
            self._must_wait = False
        if self._recording:
            for item in batch:
                file = self._recording / f"{self._name}.{item.record.id}.pickle"
                file.write_bytes(pickle.dumps(dict(item.inputs)))

        started = time.perf_counter()
        outcomes = self._stage.run(batch)
        entry = {"records": len(batch), "seconds": time.perf_counter() - started}
        self._log.write(self._name, self._worker, entry | {"peak_bytes": process_memory("VmHWM")})
        return outcomes


class ReplayStage(Stage):
    """Wrap a stage to feed it the inputs that were recorded in another run, so that it can run alone.

    Args:
        stage: wrapped stage.
        name: name of the stage.
        recording: folder written by `InstrumentedStage`. In the id of a record, `REPEAT_MARK` and what follows it are
            ignored.
    """

    def __init__(self, stage: Stage, name: str, recording: Path) -> None:
        self._stage, self._name, self._recording = stage, name, recording
        self.copy_declaration(stage)

    def setup(self) -> None:
        """Set up the wrapped stage and read the recorded inputs."""
        self._stage.setup()
        self._inputs = {
            file.name.split(".", 1)[1].removesuffix(".pickle"): pickle.loads(file.read_bytes())  # own, trusted files
            for file in self._recording.glob(f"{self._name}.*.pickle")
        }

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Run the wrapped stage on the recorded inputs."""
        return self._stage.run(
            [replace(item, inputs=self._inputs[item.record.id.partition(REPEAT_MARK)[0]]) for item in batch]
        )


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
