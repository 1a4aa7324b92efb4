"""An executor that runs all stages in this process, one batch at a time: for laptops, debuggers, or without Ray."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Sequence

from manifests.scratch import sweep_scratch
from pipelines.engine.executors.base import (
    BatchEntry,
    BatchFailed,
    BatchProgress,
    Executor,
    ExecutorConfig,
    LossCause,
    ProgressCallback,
    WorkerLost,
    WorkerReady,
    WorkerReport,
    run_batch,
)
from pipelines.engine.graph import StageSpec
from stages.base import Failed, FailureKind, Item, Stage
from stages.failures import classify_exception


class LocalExecutor(Executor):
    """Run one worker per stage as an object of this process, regardless of the number that the stage configures.

    Exceptions of a stage, including `sys.exit`, have the same effect as in other executors. A call that ends or blocks
    the process itself (`os._exit`, a crash, a hang, a failed GPU) ends or blocks the run: only an executor with worker
    processes protects from that.
    """

    parallel = False

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self._stages: dict[int, Stage] = {}
        self._batches: deque[tuple[int, int, Sequence[BatchEntry]]] = deque()  # worker, ticket, entries
        self._reports: list[WorkerReport] = []

    def open(self) -> None:
        """Remove scratch files of killed processes; there is nothing to connect to."""
        sweep_scratch()

    def count_workers(self, spec: StageSpec) -> int:
        """Return 1: more workers would only load the models twice."""
        return 1

    def describe_resources(self) -> str:
        """Describe this process."""
        return "this process starts all workers"

    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Copy the stage, so that the pipeline can be run again, and set it up."""
        stage = copy.deepcopy(spec.stage)
        try:
            stage.setup()
        except Exception as error:
            self._reports.append(WorkerLost(worker, LossCause.SETUP, classify_exception(error).sentence))
            return
        self._stages[worker] = stage
        self._reports.append(WorkerReady(worker))

    def submit(self, worker: int, ticket: int, entries: Sequence[BatchEntry]) -> None:
        """Queue a batch."""
        self._batches.append((worker, ticket, entries))

    def wait(self, timeout_s: float, on_progress: ProgressCallback) -> list[WorkerReport]:
        """Run the next batch to its end, regardless of the timeout.

        Raises:
            Exception: raised by `on_progress`.
        """
        if not self._reports and self._batches:
            self._reports.append(self._run(*self._batches.popleft(), on_progress))
        elif not self._reports:
            time.sleep(timeout_s)
        reports, self._reports = self._reports, []
        return reports

    def _run(
        self, worker: int, ticket: int, entries: Sequence[BatchEntry], on_progress: ProgressCallback
    ) -> WorkerReport:
        errors: list[Exception] = []  # of the driver, such as a full disk; a stage must not take them for its own

        def send(progress: BatchProgress) -> None:
            try:
                on_progress([progress])
            except Exception as error:
                errors.append(error)

        items = [Item(entry.record, entry.references) for entry in entries]
        try:
            result, payloads = run_batch(self._stages[worker], items, ticket, send)
        except SystemExit as error:
            self.kill_worker(worker)
            return WorkerLost(worker, LossCause.EXITED, f"the stage called sys.exit({error.code!r})")
        if errors:
            raise errors[0]
        if broken := result.broken:
            text = f"{broken.sentence}: this process is unusable: resume, or use executor=ray, which restarts workers"
            return BatchFailed(ticket, Failed(FailureKind.STOP, broken.code, text), result.seconds)
        return result.to_report(ticket, payloads)

    def kill_worker(self, worker: int) -> None:
        """Drop a worker and its batches."""
        self._stages.pop(worker, None)
        self._batches = deque(batch for batch in self._batches if batch[0] != worker)

    def close(self) -> None:
        """Drop all workers and batches, and remove the scratch files of an interrupted one."""
        self._stages.clear()
        self._batches.clear()
        sweep_scratch()
