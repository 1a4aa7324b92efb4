"""Measure a run of many records through stages that do nothing: `python -m tests.bench.empty_run --records 1000000`.

Everything around the stages is real: rows are checked and copied, the run is interrupted half-way and resumed, every
record gets its outcome row, then come `status` and the report.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.media.video_writer import VideoWriter
from joyvasa.mode import Mode
from manifests.run.description import ManifestSource
from manifests.run.folder import RunFolder
from manifests.scratch import scratch_folder
from manifests.storage import open_storage
from pipelines.engine.events import Event, EventKind
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.interrupts import RunInterrupted
from pipelines.runs import resume
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import start_run
from pipelines.runs.evaluate import EvaluateRun
from stages.base import Item, Ok, Outcome, Stage


class IdleStage(Stage):
    """Stage that does nothing."""

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Pass all records on."""
        return [Ok() for _ in batch]


class IdleRun(EvaluateRun):
    """Run over a manifest whose stages do nothing."""

    def hash_weights(self, config: RunConfig, modes: Collection[Mode]) -> dict[str, Any]:
        """Hash nothing."""
        return {}

    def build_pipeline(self, config: RunConfig, run: str, rows: ManifestSource, *, gpus: int) -> Pipeline:
        """Build two stages, of which the second needs the first."""
        first = StageSpec(name="read_video", stage=IdleStage(), batch_size=16)
        return Pipeline((first, StageSpec(name="score", stage=IdleStage(), batch_size=16, inputs=("read_video",))))


@dataclass(frozen=True)
class EmptyRunFigure:
    """Figures of a run.

    Attributes:
        records: number of records.
        check_s: time to check and copy the rows.
        first_half_s, second_half_s: time of the records before the interruption and after it, with the start of each.
        status_s, report_s: processor time of `joyvasa status` and `joyvasa report`, with the start of the program.
        peak_bytes: largest resident memory of the driver.
        report_peak_bytes: largest resident memory of `status` and `report`.
        files: number of files of the run folder.
    """

    records: int
    check_s: float
    first_half_s: float
    second_half_s: float
    status_s: float
    report_s: float
    peak_bytes: int
    report_peak_bytes: int
    files: int


def measure_empty_run(n_records: int) -> EmptyRunFigure:
    """Run, interrupt, resume and report.

    Args:
        n_records: number of records.
    """
    resume.DEFINITIONS["evaluate"] = IdleRun
    with scratch_folder() as folder:
        manifest, run = folder / "rows.parquet", folder / "run"
        _write_rows(manifest, folder / "video.mp4", n_records)
        marks: dict[str, float] = {}

        def stop_half_way(event: Event) -> None:
            if event.kind is EventKind.RUN_STARTED:
                marks["started"] = time.perf_counter()
            if event.kind is EventKind.PROGRESS and event.data["ok"] >= n_records / 2:
                raise RunInterrupted("interrupted", "stopped by the benchmark")

        began = time.perf_counter()
        try:
            start_run(
                IdleRun(),
                RunFolder(open_storage(str(run))),
                manifest,
                RunConfig(executor="local", metrics="none"),
                on_event=stop_half_way,
            )
        except RunInterrupted:
            pass
        stopped = time.perf_counter()
        second_half_s = _time(lambda: resume.resume_run(run))
        peak = _peak_bytes(resource.RUSAGE_SELF)

        status_s, report_s = _time_program("status", run), _time_program("report", run)
        n_files = sum(path.is_file() for path in run.rglob("*"))
        return EmptyRunFigure(
            n_records,
            marks["started"] - began,
            stopped - marks["started"],
            second_half_s,
            status_s,
            report_s,
            peak,
            _peak_bytes(resource.RUSAGE_CHILDREN),
            n_files,
        )


def _write_rows(manifest: Path, video: Path, n_records: int) -> None:
    with VideoWriter(video, width=64, height=64, frames_per_second=25, n_frames=2) as writer:
        writer.write(np.zeros((2, 64, 64, 3), np.uint8))
    schema = pa.schema([("record_id", pa.string()), ("video", pa.string()), ("voice", pa.string())])
    with pq.ParquetWriter(manifest, schema) as out:
        for start in range(0, n_records, 100_000):
            numbers = range(start, min(start + 100_000, n_records))
            columns = [
                [f"record-{n:08d}" for n in numbers],
                [str(video)] * len(numbers),
                [f"v{n % 7}" for n in numbers],
            ]
            out.write_table(pa.table(columns, schema=schema))


def _time(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _time_program(command: str, run: Path) -> float:
    """Run a command of the program; return its processor time, which other load on the machine hardly changes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "joyvasa", command, str(run)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _peak_bytes(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measure with the options of the command line and print a table."""
    parser = argparse.ArgumentParser(description="Measure a run of many records through stages that do nothing.")
    parser.add_argument("--records", type=int, default=100_000)
    figure = measure_empty_run(parser.parse_args().records)
    print(f"{figure.records:,} records, {figure.files:,} files")
    for name, value in {
        "check and copy the rows": figure.check_s,
        "first half": figure.first_half_s,
        "second half, resumed": figure.second_half_s,
        "status, processor time": figure.status_s,
        "report, processor time": figure.report_s,
    }.items():
        print(f"{name:25} {value:8.1f} s")
    print(
        f"memory of the driver {figure.peak_bytes / 2**20:,.0f} MiB, of status and report "
        f"{figure.report_peak_bytes / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
