"""Stages that are watched while they run, or fed with what they got in another run."""

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

from pipelines.bench.clock import process_memory
from stages.base import Item, Outcome, Stage

LONGEST_START_S = 1800.0  # for the workers of all stages
_POLL_S = 0.01
AGAIN = "~"  # between the id of a record whose inputs were kept and the number of its repetition


@dataclass(frozen=True)
class Watch:
    """A folder in which the workers of one run note what they do.

    Attributes:
        folder: of the run; on this machine.
        n_workers: of all stages; the first stage begins when all are ready.
    """

    folder: Path
    n_workers: int

    def note(self, stage: str, worker: str, entry: Mapping[str, Any]) -> None:
        """Adds a line to what is known of a worker."""
        with (self.folder / f"{stage}.{worker}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def wait_for_workers(self) -> float:
        """Waits until all workers have loaded their models; gives the time of the last one.

        Raises:
            TimeoutError: some of them do not get ready.
        """
        limit = time.time() + LONGEST_START_S
        while len(files := list(self.folder.glob("*.ready"))) < self.n_workers:
            if time.time() > limit:
                raise TimeoutError(f"{len(files)} of {self.n_workers} workers were ready in {LONGEST_START_S:g} s")
            time.sleep(_POLL_S)
        return self.ready_at()

    def ready_at(self) -> float:
        """When the last worker was ready, seconds of the wall clock."""
        return max(file.stat().st_mtime for file in self.folder.glob("*.ready"))

    def entries(self, stage: str) -> list[list[dict[str, Any]]]:
        """What was noted of each worker of a stage, in order."""
        return [
            [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            for file in sorted(self.folder.glob(f"{stage}.*.jsonl"))
        ]


class WatchedStage(Stage):
    """A stage that notes how long its set-up and each batch take, and how much memory its process had.

    Args:
        stage: that does the work.
        name: of the stage.
        watch: where it is noted.
        first: waits at its first batch until the workers of all stages are ready: rates hold for warm workers.
        keep: folder for what each record brings, for `FedStage`; None to keep nothing.
    """

    def __init__(self, stage: Stage, name: str, watch: Watch, *, first: bool = False, keep: Path | None = None) -> None:
        self._stage, self._name, self._watch = stage, name, watch
        self.declare_like(stage)
        self._waits, self._keep = first, keep

    def setup(self) -> None:
        """Sets up the stage and says so."""
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        started = time.perf_counter()
        self._stage.setup()
        self._watch.note(self._name, self._worker, {"setup_s": time.perf_counter() - started})
        (self._watch.folder / f"{self._name}.{self._worker}.ready").touch()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Runs the stage."""
        if self._waits:
            self._watch.wait_for_workers()
            self._waits = False
        if self._keep:
            for item in batch:
                (self._keep / f"{self._name}.{item.record.id}.pickle").write_bytes(pickle.dumps(dict(item.inputs)))
        started = time.perf_counter()
        outcomes = self._stage.run(batch)
        entry = {"records": len(batch), "seconds": time.perf_counter() - started}
        self._watch.note(self._name, self._worker, entry | {"peak_bytes": process_memory("VmHWM")})
        return outcomes


class FedStage(Stage):
    """A stage that gets what it had got in another run, so that it can run alone.

    Args:
        stage: that does the work.
        name: of the stage.
        kept: folder of `WatchedStage`. What follows `AGAIN` in the id of a record does not count.
    """

    def __init__(self, stage: Stage, name: str, kept: Path) -> None:
        self._stage, self._name, self._kept = stage, name, kept
        self.declare_like(stage)

    def setup(self) -> None:
        """Sets up the stage and reads the inputs."""
        self._stage.setup()
        self._inputs = {
            file.name.split(".", 1)[1].removesuffix(".pickle"): pickle.loads(file.read_bytes())  # this program's own
            for file in self._kept.glob(f"{self._name}.*.pickle")
        }

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Runs the stage."""
        return self._stage.run(
            [replace(item, inputs=self._inputs[item.record.id.partition(AGAIN)[0]]) for item in batch]
        )
