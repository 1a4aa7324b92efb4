"""Stages that log their times and memory, or replay the inputs of another run."""

from __future__ import annotations

import json
import os
import pickle
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.bench.timing import process_memory
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
