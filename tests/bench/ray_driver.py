"""Measure what one driver does with many Ray actors that do nothing: `python -m tests.bench.ray_driver`."""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from manifests.record import Record
from pipelines.engine.events import Event, EventKind
from pipelines.engine.executors import find_executor
from pipelines.engine.executors.base import ExecutorConfig
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from pipelines.engine.tasks import FinishedRecord
from stages.base import Item, Ok, Outcome, Stage

WAITING = "waiting"  # prefix of the ids of records that pass while actors still start
WAITING_S = 1.0


class IdleStage(Stage):
    """Stage that does nothing."""

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Pass all records on; while actors still start, slowly."""
        if batch[0].record.id.startswith(WAITING):
            time.sleep(WAITING_S)
        return [Ok() for _ in batch]


@dataclass(frozen=True)
class DriverFigure:
    """Figures of one run, from the first to the last record that finished after all actors were ready.

    Attributes:
        actors: number of Ray actors.
        records: number of records, each of which passes two stages.
        records_per_s: rate.
        driver_ms: processor time of the driver process per record, including the threads of Ray.
        peak_bytes: largest resident memory of the driver.
    """

    actors: int
    records: int
    records_per_s: float
    driver_ms: float
    peak_bytes: int


def measure_driver(n_actors: int, n_records: int, *, batch_size: int) -> DriverFigure:
    """Run empty records through two stages, with half of the actors each, once all actors are ready.

    Args:
        n_actors: number of actors.
        n_records: number of records.
        batch_size: number of records per call.
    """
    names = ("first", "second")
    workers = max(1, n_actors // len(names))
    specs = [
        StageSpec(
            name=name,
            stage=IdleStage(),
            inputs=names[:at],
            batch_size=batch_size,
            workers=workers,
            num_cpus=0.001,
        )
        for at, name in enumerate(names)
    ]
    n_ready = 0
    marks: list[tuple[float, float]] = []

    def count_ready(event: Event) -> None:
        nonlocal n_ready
        n_ready += event.kind == EventKind.WORKER_READY

    def make_records() -> Iterator[Record]:
        number = itertools.count()
        while n_ready < len(names) * workers:
            yield Record(id=f"{WAITING}-{next(number):08d}", seed=0)
        for number in range(n_records):
            yield Record(id=f"record-{number:08d}", seed=number)

    def count(finished: FinishedRecord) -> None:
        if not finished.record.id.startswith(WAITING):
            marks.append((time.perf_counter(), time.process_time()))
            del marks[1:-1]  # the first and the last

    executor = find_executor("ray")(ExecutorConfig(num_cpus=2))
    run_pipeline(Pipeline(tuple(specs)), make_records(), count, executor=executor, on_event=count_ready)
    (started, before), (ended, after) = marks
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    rate = n_records / (ended - started)
    return DriverFigure(n_actors, n_records, rate, 1000 * (after - before) / n_records, peak)


def main() -> None:
    """Measure with the options of the command line and print a table."""
    parser = argparse.ArgumentParser(description="Measure one driver with many Ray actors that do nothing.")
    parser.add_argument("--actors", type=int, default=200, help="each is a process of about 100 MB")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=4, help="records per call")
    options = parser.parse_args()
    figure = measure_driver(options.actors, options.records, batch_size=options.batch)
    print(
        "| actors | records | records/s | driver, processor time per record | driver, memory |\n|---|---|---|---|---|"
    )
    numbers = f"{figure.actors} | {figure.records:,} | {figure.records_per_s:,.0f} | {figure.driver_ms:.2f} ms"
    print(f"| {numbers} | {figure.peak_bytes / 2**30:.2f} GiB |")


if __name__ == "__main__":
    main()
