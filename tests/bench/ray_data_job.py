"""The stages of a run as a Ray Data job, the usual alternative to an engine of one's own.

`python -m tests.bench.ray_data_job FILE` runs a pickled `Job` in a process of its own, because it may be killed.
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
from pipelines.bench.timed_run import InstrumentedStage, WorkerLog
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.runs.config import RunConfig
from stages.base import Failed, Item, Ok, Outcome, Stage

if TYPE_CHECKING:
    import pyarrow as pa

Fault = Literal["none", "raises", "kills"]
SPARE_CPUS = 2  # for reading and writing, in addition to the actors


@dataclass(frozen=True, kw_only=True)
class Job:
    """Description of a job.

    Attributes:
        config: options of the run.
        records: all records.
        folder: new folder for videos, rows and logs.
        fault: effect of the record `culprit` on the render stage.
        culprit: id of the faulty record.
        checkpoint: whether Ray Data writes checkpoints, so that the job can be resumed.
    """

    config: RunConfig
    records: Sequence[Record]
    folder: Path
    fault: Fault = "none"
    culprit: str = ""
    checkpoint: bool = False

    @property
    def finished(self) -> Path:
        """File with one line per record that has passed all stages: its id and the time."""
        return self.folder / "finished.txt"

    def pipeline(self) -> Pipeline:
        """Return the stages, with the fault in the render stage."""
        from dataclasses import replace

        from pipelines.bench.chain import build_pipeline

        pipeline = build_pipeline(self.config, self.folder / "run")
        if self.fault == "none":
            return pipeline
        render = pipeline.by_name["render"]
        faulty = replace(render, stage=FaultyStage(render.stage, self.fault, self.culprit))
        return Pipeline(tuple(faulty if spec is render else spec for spec in pipeline.stages))


class FaultyStage(Stage):
    """Wrap a stage to raise or to kill its process at one record.

    Args:
        stage: wrapped stage.
        fault: effect of that record on its batch.
        culprit: id of that record.
    """

    def __init__(self, stage: Stage, fault: Fault, culprit: str) -> None:
        self._stage, self._fault, self._culprit = stage, fault, culprit
        self.copy_declaration(stage)

    def setup(self) -> None:
        """Set up the wrapped stage."""
        self._stage.setup()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Run the wrapped stage, or fail."""
        if any(item.record.id == self._culprit for item in batch):
            if self._fault == "kills":
                os._exit(9)
            raise RuntimeError(f"{self._culprit}: injected fault")
        return self._stage.run(batch)


class StageCall:
    """Adapt a stage to `map_batches`: payloads are pickled columns, one per output.

    Args:
        stage: instrumented stage.
        output: name of the output column.
        inputs: names of the input columns.
        finished: file for the ids of finished records; None unless it is the last stage.
    """

    def __init__(self, stage: Stage, output: str, inputs: tuple[str, ...], finished: Path | None) -> None:
        self._stage, self._output, self._inputs, self._finished = stage, output, inputs, finished
        stage.setup()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Run a batch; a failed record raises, which Ray Data handles."""
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
    """Write the input files of a job; each file becomes a block, which is Ray Data's unit of failure."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = job.folder / "rows"
    folder.mkdir(parents=True)
    for start in range(0, len(job.records), rows_per_file):
        records = job.records[start : start + rows_per_file]
        pickled = pa.array(map(pickle.dumps, records), pa.large_binary())
        table = pa.table({"id": [record.id for record in records], "record": pickled})
        pq.write_table(table, folder / f"{start:05d}.parquet")


def run_job(job: Job) -> None:
    """Run the records through `map_batches`, one actor pool per stage, and write rows to `out`."""
    import ray
    import ray.data

    from pipelines.runs.resources import count_offered_cpus

    pipeline = job.pipeline()
    log = WorkerLog(job.folder / f"log-{os.getpid()}", sum(spec.workers for spec in pipeline.stages))
    log.folder.mkdir(parents=True)
    gpus = sum(spec.workers * spec.num_gpus for spec in pipeline.stages)
    ray.init(
        address="local",
        num_cpus=count_offered_cpus(pipeline) + SPARE_CPUS,
        num_gpus=round(gpus),
        include_dashboard=False,
    )

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # skip failed blocks: the most tolerant setting
    context.use_datasource_v2 = False  # it merges small files into one block, all of which would be lost
    if job.checkpoint:
        from ray.data.checkpoint import CheckpointConfig

        context.checkpoint_config = CheckpointConfig("id", str(job.folder / "checkpoint"))

    rows = sorted(str(path) for path in (job.folder / "rows").glob("*.parquet"))
    data: Any = ray.data.read_parquet(rows, override_num_blocks=len(rows))
    first, last = pipeline.order[0].name, pipeline.order[-1].name
    for spec in pipeline.order:
        stage = InstrumentedStage(spec.stage, spec.name, log, first=spec.name == first)
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

    resources: dict[str, Any] = {"compute": ActorPoolStrategy(size=spec.workers), "num_cpus": spec.num_cpus}
    return resources | ({"num_gpus": spec.num_gpus} if spec.num_gpus else {})


if __name__ == "__main__":
    run_job(pickle.loads(Path(sys.argv[1]).read_bytes()))  # written by `ray_data`
