"""Progress of a run: bars with rates and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.engine.events import Event, EventKind, Listener

LINE_S = 10.0  # between two lines where there is no terminal


@contextmanager
def run_progress() -> Iterator[Listener]:
    """Shows a run on standard error.

    Yields:
        what the engine tells its events to.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description:15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {"records": bars.add_task("records", total=None, rate="")}

        def show(event: Event) -> None:
            if event.kind is EventKind.RECORD_REJECTED:
                bars.console.print(_rejected(event), style="yellow", markup=False, highlight=False)
            if event.kind is not EventKind.PROGRESS:
                return
            data = event.data
            finished = data["ok"] + data["failed"] + data["quarantined"]
            total = data["records"]
            bars.update(tasks["records"], total=total, completed=finished, rate=_rate(finished, data["elapsed_s"]))
            for name, stage in data["stages"].items():
                done = stage["records"] + stage["shared"]
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total, rate="")
                bars.update(tasks[name], completed=done, rate=_rate(done, data["elapsed_s"]))

        yield show


class _Lines:
    """A line at regular times, and one for each failure."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, event: Event) -> None:
        if event.kind is EventKind.RECORD_REJECTED:
            print(_rejected(event), file=sys.stderr)
        if event.kind is EventKind.PROGRESS and time.monotonic() - self._shown >= LINE_S:
            self._shown = time.monotonic()
            data = event.data
            finished = data["ok"] + data["failed"] + data["quarantined"]
            stages = ", ".join(f"{name} {stage['records']}" for name, stage in data["stages"].items())
            rate = _rate(finished, data["elapsed_s"])
            done = ", ".join(filter(None, (f"{finished} of {data['records']} records", rate)))
            print(f"{done}; {stages}", file=sys.stderr)


def _rejected(event: Event) -> str:
    data = event.data
    return f"{data['status']}: {data['record']}: {event.stage}: {data['code']}: {data['sentence']}"


def _rate(done: int, elapsed_s: float) -> str:
    return f"{done / elapsed_s:.2f}/s" if done and elapsed_s > 0 else ""
