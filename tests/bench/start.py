"""Measure the start-up time of the program: `python -m tests.bench.start`."""

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
    "import of all stages": [sys.executable, "-c", "import pipelines.runs.generate"],
    "import of ray": [sys.executable, "-c", "import pipelines.engine.executors.ray"],
}


@dataclass(frozen=True)
class StartFigure:
    """Run time of one program.

    Attributes:
        program: description of the program.
        seconds, processor_s: median wall-clock and processor time of several runs.
    """

    program: str
    seconds: float
    processor_s: float


def measure_start(rounds: int) -> list[StartFigure]:
    """Run each program `rounds` times, after one run that fills the disk cache."""
    figures = []
    for program, command in _STARTS.items():
        times = [_time_process(command) for _ in range(1 + rounds)][1:]
        wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
        figures.append(StartFigure(program, wall, processor))
    return figures


def _time_process(command: list[str]) -> tuple[float, float]:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    for figure in measure_start(ROUNDS):
        print(f"{figure.program}: {figure.seconds:.2f} s, {figure.processor_s:.2f} s of processor time")
