"""The stages of a run as a Ray Data job: what many would write in the place of an engine of their own.

`python -m tests.bench.ray_data_job FILE` runs a pickled `Job`; a process of its own, because it may have to die.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from manifests.record import Record
from pipelines.bench.observed import Watch, WatchedStage
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.runs.config import RunConfig
from stages.base import Failed, Item, Ok, Outcome, Stage

if TYPE_CHECKING:
    import pyarrow as pa

Fault = Literal["none", "raises", "kills"]
SPARE_CPUS = 2  # for reading and writing, beside the actors


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run.

    Attributes:
        config: of the run.
        records: all of them.
        folder: for videos, rows and notes; made.
        fault: what the record `culprit` does to the render stage.
        culprit: id of a record.
        checkpoint: let Ray Data note what it has written, so that the job can be started again.
    """

    config: RunConfig
    records: Sequence[Record]
    folder: Path
    fault: Fault = "none"
    culprit: str = ""
    checkpoint: bool = False

    @property
    def finished(self) -> Path:
        """A line for each record that has passed all stages: its id and the time."""
        return self.folder / "finished.txt"

    def pipeline(self) -> Pipeline:
        """The stages, with the fault in the render stage."""
        from dataclasses import replace

        from pipelines.bench.chain import build_pipeline

        pipeline = build_pipeline(self.config, self.folder / "run")
        if self.fault == "none":
            return pipeline
        return Pipeline(
            tuple(
                replace(spec, stage=TroubledStage(spec.stage, self.fault, self.culprit))
                if spec.name == "render"
                else spec
                for spec in pipeline.stages
            )
        )


class TroubledStage(Stage):
    """A stage with one record that nobody was prepared for.

    Args:
        stage: that does the work.
        fault: what happens to a batch with that record.
        culprit: its id.
    """

    def __init__(self, stage: Stage, fault: Fault, culprit: str) -> None:
        self._stage, self._fault, self._culprit = stage, fault, culprit
        self.declare_like(stage)

    def setup(self) -> None:
        """Sets up the stage."""
        self._stage.setup()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Runs the stage, or does not."""
        if any(item.record.id == self._culprit for item in batch):
            if self._fault == "kills":
                os._exit(9)
            raise RuntimeError(f"{self._culprit}: never seen before")
        return self._stage.run(batch)


class StageCall:
    """One stage as a callable of `map_batches`: payloads travel as pickled columns, one for each output.

    Args:
        stage: that does the work, with its notes.
        output: name of its column.
        inputs: columns that it needs.
        finished: file for ids, if it is the last stage.
    """

    def __init__(self, stage: Stage, output: str, inputs: tuple[str, ...], finished: Path | None) -> None:
        self._stage, self._output, self._inputs, self._finished = stage, output, inputs, finished
        stage.setup()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Runs a batch; a record that fails is an exception, of which Ray Data knows what to do."""
        import pyarrow as pa

        records: list[Record] = [pickle.loads(text) for text in table.column("record").to_pylist()]
        columns = {name: table.column(name).to_pylist() for name in self._inputs}
        items = [
            Item(record, {name: pickle.loads(column[row]) for name, column in columns.items()})
            for row, record in enumerate(records)
        ]
        payloads = []
        for record, outcome in zip(records, self._stage.run(items), strict=True):
            if isinstance(outcome, Failed):
                raise RuntimeError(f"{record.id}: {outcome.code}: {outcome.sentence}")
            payloads.append(pickle.dumps(outcome.payload if isinstance(outcome, Ok) else None))
        if self._finished:
            with self._finished.open("a", encoding="utf-8") as file:
                file.writelines(f"{record.id} {time.time()!r}\n" for record in records)
        return table.append_column(self._output, pa.array(payloads, pa.large_binary()))


def write_rows(job: Job, rows_per_file: int) -> None:
    """Writes the records where the job reads them; a file becomes a block, which is Ray Data's unit of failure."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = job.folder / "rows"
    folder.mkdir(parents=True)
    for start in range(0, len(job.records), rows_per_file):
        some = job.records[start : start + rows_per_file]
        table = pa.table(
            {"id": [record.id for record in some], "record": pa.array(map(pickle.dumps, some), pa.large_binary())}
        )
        pq.write_table(table, folder / f"{start:05d}.parquet")


def run_job(job: Job) -> None:
    """Runs the records through `map_batches`, a pool of actors for each stage, to rows in `out`."""
    import ray
    import ray.data

    from pipelines.runs.resources import cpus_to_offer

    pipeline = job.pipeline()
    watch = Watch(job.folder / f"notes-{os.getpid()}", sum(spec.workers for spec in pipeline.stages))
    watch.folder.mkdir(parents=True)
    gpus = sum(spec.workers * spec.num_gpus for spec in pipeline.stages)
    ray.init(
        address="local", num_cpus=cpus_to_offer(pipeline) + SPARE_CPUS, num_gpus=round(gpus), include_dashboard=False
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # go on without a block that failed: the most tolerant it can be
    context.use_datasource_v2 = False  # it joins files as small as these to one block, and would lose all of them
    if job.checkpoint:
        from ray.data.checkpoint import CheckpointConfig

        context.checkpoint_config = CheckpointConfig("id", str(job.folder / "checkpoint"))
    rows = sorted(str(path) for path in (job.folder / "rows").glob("*.parquet"))
    data: Any = ray.data.read_parquet(rows, override_num_blocks=len(rows))
    first, last = pipeline.order[0].name, pipeline.order[-1].name
    for spec in pipeline.order:
        stage = WatchedStage(spec.stage, spec.name, watch, first=spec.name == first)
        data = data.map_batches(
            StageCall,
            fn_constructor_args=(stage, spec.output, spec.inputs, job.finished if spec.name == last else None),
            batch_size=spec.batch_size,
            batch_format="pyarrow",
            **_resources(spec),
        )
    data.select_columns(["id"]).write_parquet(str(job.folder / "out"), mode="append")


def _resources(spec: StageSpec) -> dict[str, Any]:
    from ray.data import ActorPoolStrategy

    wanted: dict[str, Any] = {"compute": ActorPoolStrategy(size=spec.workers), "num_cpus": spec.num_cpus}
    return wanted | ({"num_gpus": spec.num_gpus} if spec.num_gpus else {})


if __name__ == "__main__":
    run_job(pickle.loads(Path(sys.argv[1]).read_bytes()))  # written by the bench itself
