"""Overhead of the engine: records through stages that do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.record import Record
from manifests.scratch import scratch_folder
from pipelines.bench.config import BenchConfig
from pipelines.bench.timed_run import run_once
from pipelines.engine.executors import find_executor
from pipelines.engine.graph import Pipeline, StageSpec
from stages.base import Item, Ok, Outcome, Stage

BATCH = 16


@dataclass(frozen=True)
class EngineFigure:
    """Figures of the engine with one executor and five stages connected as in the chain."""

    executor: str  # `local` or `ray`
    records: int  # number of records
    elapsed_s: float  # time from ready workers to the last record
    records_per_s: float  # `records / elapsed_s`
    ms_per_record: float  # `1000 elapsed_s / records`


class EmptyStage(Stage):
    """Stage that does nothing."""

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Pass all records on."""
        return [Ok() for _ in batch]


def empty_pipeline() -> Pipeline:
    """Return five empty stages: portrait and speech in parallel, then motion, render, commit."""

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
    """Run empty records with both executors."""
    return tuple(measure_executor(name, config.empty_records) for name in ("local", "ray"))


def measure_executor(name: str, n_records: int) -> EngineFigure:
    """Run empty records with one executor, `local` or `ray`."""
    records = [Record(id=f"record-{number:06d}", seed=number) for number in range(n_records)]
    with scratch_folder() as folder:
        elapsed_s = run_once(empty_pipeline(), records, find_executor(name)(), folder / "log").elapsed_s
    return EngineFigure(name, n_records, elapsed_s, n_records / elapsed_s, 1000 * elapsed_s / n_records)
