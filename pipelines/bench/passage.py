"""Records on their way through a pipeline: when they arrived, and how fast that is."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from joyvasa.errors import EnvironmentFault
from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.bench.observed import Watch, WatchedStage
from pipelines.engine import loop as engine
from pipelines.engine.executors.base import Executor
from pipelines.engine.graph import Pipeline
from pipelines.engine.statistics import RunStatistics
from pipelines.engine.tasks import Finished

TOGETHER_S = 0.02  # records that finish within so much of each other were in one batch


@dataclass(frozen=True)
class Passage:
    """What was seen of one run.

    Attributes:
        ready_at: when the workers of all stages had loaded their models, seconds of the wall clock.
        finished_at: when each record was finished, in order.
        frames: of all videos.
        statistics: of the engine.
        watch: what the workers noted.
    """

    ready_at: float
    finished_at: tuple[float, ...]
    frames: int
    statistics: RunStatistics
    watch: Watch

    @property
    def elapsed_s(self) -> float:
        """From warm workers to the last record, the filling and the emptying of the stages included."""
        return self.finished_at[-1] - self.ready_at

    @property
    def records_per_s(self) -> float:
        """Over the whole time."""
        return len(self.finished_at) / self.elapsed_s

    @property
    def steady_records_per_s(self) -> float:
        """From the first finished batch on; over the whole time where there was one batch only."""
        first, last = self.finished_at[0], self.finished_at[-1]
        n_first = sum(at <= first + TOGETHER_S for at in self.finished_at)
        n_later = len(self.finished_at) - n_first
        return n_later / (last - first) if n_later else self.records_per_s

    @property
    def peak_bytes(self) -> int | None:
        """Memory of the largest process of a worker."""
        names = self.statistics.stages
        notes = [entry for name in names for worker in self.watch.entries(name) for entry in worker]
        return max((entry["peak_bytes"] for entry in notes if entry.get("peak_bytes")), default=None)

    @property
    def frames_per_record(self) -> float:
        """Mean length of the videos."""
        return self.frames / len(self.finished_at)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files of a measurement, gone with all that is in it when the block ends."""
    with tempfile.TemporaryDirectory(prefix="joyvasa-bench-") as folder:
        yield Path(folder)


def pass_through(
    pipeline: Pipeline, records: Sequence[Record], executor: Executor, folder: Path, *, keep: Path | None = None
) -> Passage:
    """Runs records through a pipeline with warm workers.

    Args:
        pipeline: its first stage must not share results.
        records: all of which must succeed.
        executor: where the workers are.
        folder: for notes; made.
        keep: as for `WatchedStage`.

    Raises:
        EnvironmentFault: `bench_record_failed`; a rate of records that fail means nothing.
    """
    folder.mkdir(parents=True)
    watch = Watch(folder, sum(executor.workers_of(spec) for spec in pipeline.stages))
    first = pipeline.order[0].name
    watched = Pipeline(
        tuple(
            dataclasses.replace(
                spec, stage=WatchedStage(spec.stage, spec.name, watch, first=spec.name == first, keep=keep)
            )
            for spec in pipeline.stages
        )
    )
    finished: list[tuple[float, Finished]] = []
    statistics = engine.run(watched, records, lambda one: finished.append((time.time(), one)), executor=executor)
    for _, one in finished:
        if one.status is not Status.OK and one.rejection:
            raise EnvironmentFault(
                "bench_record_failed",
                f"record {one.record.id} at stage {one.rejection.stage}: {one.rejection.sentence}; expected all "
                "records to succeed: see to the reason, then measure again",
            )
    frames = sum(int(one.facts.get("render", {}).get("frames") or 0) for _, one in finished)
    return Passage(watch.ready_at(), tuple(at for at, _ in finished), frames, statistics, watch)
