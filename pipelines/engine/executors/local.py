"""Runs everything in this process, one batch at a time: for a laptop, a debugger, machines without Ray."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Sequence

from manifests.scratch import sweep_scratch
from pipelines.engine.executors.base import (
    BatchFailed,
    Cause,
    Entry,
    ExecutorConfig,
    WorkerReport,
    WorkerLost,
    WorkerReady,
    run_batch,
)
from pipelines.engine.graph import StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Failed, FailureKind, Item, Stage, classify_exception


class LocalExecutor:
    """Workers are objects of this process, one per stage, however many the stage asks for.

    What a stage raises is treated as anywhere else, `sys.exit` included. What ends or blocks the process itself
    (`os._exit`, a crash, a hang, a failed GPU) ends or blocks the run: only processes of their own protect from that.
    """

    parallel = False

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self._stages: dict[int, Stage] = {}
        self._batches: deque[tuple[int, int, Sequence[Entry]]] = deque()  # worker, ticket, entries
        self._reports: list[WorkerReport] = []

    @staticmethod
    def count_gpus(config: ExecutorConfig) -> int:
        """Return 0: stages of this process share its devices."""
        return 0

    def open(self) -> None:
        """Nothing to connect to; removes what killed processes have left."""
        sweep_scratch()

    def count_workers(self, spec: StageSpec) -> int:
        """One: more would only hold the models twice."""
        return 1

    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Copies the stage, so that the pipeline can be run again, and sets it up."""
        stage = copy.deepcopy(spec.stage)
        try:
            stage.setup()
        except Exception as error:
            self._reports.append(WorkerLost(worker, Cause.SETUP, classify_exception(error).sentence))
            return
        self._stages[worker] = stage
        self._reports.append(WorkerReady(worker))

    def submit(self, worker: int, ticket: int, entries: Sequence[Entry]) -> None:
        """Puts the batch in line."""
        self._batches.append((worker, ticket, entries))

    def wait(self, timeout_s: float) -> list[WorkerReport]:
        """Runs the next batch to its end, however long that takes."""
        if not self._reports and self._batches:
            self._reports.append(self._run(*self._batches.popleft()))
        elif not self._reports:
            time.sleep(timeout_s)
        reports, self._reports = self._reports, []
        return reports

    def _run(self, worker: int, ticket: int, entries: Sequence[Entry]) -> WorkerReport:
        try:
            result, payloads = run_batch(self._stages[worker], [Item(e.record, e.references) for e in entries])
        except SystemExit as error:
            self.kill_worker(worker)
            return WorkerLost(worker, Cause.EXITED, f"the stage called sys.exit({error.code!r})")
        if broken := result.broken:
            text = f"{broken.sentence}: this process is unusable: resume, or use executor=ray, which restarts workers"
            return BatchFailed(ticket, Failed(FailureKind.STOP, broken.code, text), result.seconds)
        return result.report(ticket, payloads)

    def kill_worker(self, worker: int) -> None:
        """Forgets the worker and what it was to run."""
        self._stages.pop(worker, None)
        self._batches = deque(batch for batch in self._batches if batch[0] != worker)

    def publish(self, statistics: RunStatistics) -> None:
        """Do nothing: there is no dashboard."""

    def close(self) -> None:
        """Forgets all."""
        self._stages.clear()
        self._batches.clear()
