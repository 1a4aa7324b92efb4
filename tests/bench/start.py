"""Measure how long the program takes to start: `python -m tests.bench.start`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

ROUNDS = 3
_STARTS = {
    "joyvasa --help": [sys.executable, "-c", "from pipelines.cli.main import main; main()", "--help"],
    "import of all stages": [sys.executable, "-c", "import pipelines.runs.video_pipeline"],
    "import of ray": [sys.executable, "-c", "import pipelines.engine.executors.ray"],
}


@dataclass(frozen=True)
class StartFigure:
    """One program until it has done what it is for; set-up of models is in the figures of the stages.

    Attributes:
        what: the program.
        seconds, processor_s: medians of some starts.
    """

    what: str
    seconds: float
    processor_s: float


def measure_start(rounds: int) -> list[StartFigure]:
    """Start each program `rounds` times, after one start that fills the cache of the disk."""
    figures = []
    for what, command in _STARTS.items():
        times = [_run(command) for _ in range(1 + rounds)][1:]
        wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
        figures.append(StartFigure(what, wall, processor))
    return figures


def _run(command: list[str]) -> tuple[float, float]:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    complaints = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=complaints)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    for figure in measure_start(ROUNDS):
        print(f"{figure.what}: {figure.seconds:.2f} s, {figure.processor_s:.2f} s of processor time")
