"""What the engine itself costs: records through stages that do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.record import Record
from pipelines.bench.config import BenchConfig
from pipelines.bench.passage import pass_through, scratch
from pipelines.engine import executors
from pipelines.engine.graph import Pipeline, StageSpec
from stages.base import Item, Ok, Outcome, Stage

BATCH = 16


@dataclass(frozen=True)
class EngineFigure:
    """The engine with one executor and five stages in the shape of the chain.

    Attributes:
        executor: `local` or `ray`.
        records: that went through.
        elapsed_s: from warm workers to the last record.
        records_per_s: `records / elapsed_s`.
        ms_per_record: `1000 elapsed_s / records`.
    """

    executor: str
    records: int
    elapsed_s: float
    records_per_s: float
    ms_per_record: float


class EmptyStage(Stage):
    """Does nothing."""

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Passes all records on."""
        return [Ok() for _ in batch]


def empty_pipeline() -> Pipeline:
    """Portrait and speech side by side, then motion, render, commit."""

    def spec(name: str, *inputs: str) -> StageSpec:
        return StageSpec(name=name, stage=EmptyStage(), inputs=inputs, batch_size=BATCH, num_cpus=0.1)

    return Pipeline(
        (
            spec("portrait"),
            spec("speech"),
            spec("motion", "speech"),
            spec("render", "portrait", "motion"),
            spec("commit", "render"),
        )
    )


def measure_engine(config: BenchConfig) -> tuple[EngineFigure, ...]:
    """Runs empty records through both executors."""
    return tuple(measure_executor(name, config.empty_records) for name in ("local", "ray"))


def measure_executor(name: str, n_records: int) -> EngineFigure:
    """Runs empty records through one executor.

    Args:
        name: `local` or `ray`.
        n_records: how many.
    """
    records = [Record(id=f"record-{number:06d}", seed=number) for number in range(n_records)]
    with scratch() as folder:
        elapsed_s = pass_through(empty_pipeline(), records, executors.make(name), folder / "notes").elapsed_s
    return EngineFigure(name, n_records, elapsed_s, n_records / elapsed_s, 1000 * elapsed_s / n_records)
