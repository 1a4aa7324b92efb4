"""Progress displays on standard error: bars with rate and remaining time on a terminal, otherwise lines or nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipelines.engine.events import Event, EventCallback, EventKind
from pipelines.training.step_printer import StepPrinter, describe_step

if TYPE_CHECKING:
    from joyvasa.training.trainer import StepCallback, StepValues

LINE_S = 10.0  # interval of lines without a terminal
SHOWN_FAILURES = 5  # failures of each reason that are printed as they happen; all are counted


class ProgressDisplay:
    """Context manager that shows progress bars on standard error.

    Args:
        keep: whether to leave the bars on the screen at the end.
        enabled: whether to show bars if standard error is a terminal.
    """

    def __init__(self, *, keep: bool = False, enabled: bool = True) -> None:
        console = Console(stderr=True)
        self.visible = enabled and console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:15}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            transient=not keep,
            disable=not self.visible,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, name: str, done: int, total: int | None = None, note: str | None = None) -> None:
        """Update the bar of a step; a step that starts again gets a new bar.

        Args:
            name: name of the step, the title of its bar.
            done: number of finished units.
            total: total number of units; None if unknown.
            note: text next to the bar; None for the rate since the first update of the bar.
        """
        if not self.visible:
            return

        if name not in self._tasks or done < self._bars.tasks[self._tasks[name]].completed:
            self._tasks[name] = self._bars.add_task(name, total=total, note="")
        task = self._tasks[name]
        shown = format_rate(done, self._bars.tasks[task].elapsed or 0.0) if note is None else note
        self._bars.update(task, completed=done, total=total, note=shown)

    def print_line(self, line: str, style: str | None = None) -> None:
        """Print a line above the bars."""
        if self.visible:
            self._bars.console.print(line, style=style, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def run_progress() -> Iterator[EventCallback]:
    """Show a run over a manifest: bars for records and stages, or a line at intervals.

    The first failures of each reason are lines; at the end, all failures are counted by reason.

    Yields:
        Callback for the events of the engine.
    """
    shown_at = time.monotonic()
    failures: Counter[tuple[str, ...]] = Counter()  # by status, stage and code

    def on_event(event: Event) -> None:
        nonlocal shown_at
        if event.kind is EventKind.RECORD_REJECTED:
            reason = (event.data["status"], event.stage or "", event.data["code"])
            failures[reason] += 1
            if failures[reason] <= SHOWN_FAILURES:
                display.print_line(_describe_rejection(event), style="yellow")
        elif event.kind is EventKind.WAITING:
            display.print_line(f"waiting: stage {event.stage}: {event.data['sentence']}", style="yellow")
        elif event.kind is EventKind.PROGRESS and display.visible:
            _update_run_bars(display, event.data)
        elif event.kind is EventKind.PROGRESS and time.monotonic() - shown_at >= LINE_S:
            shown_at = time.monotonic()
            display.print_line(_describe_run_progress(event.data))

    with ProgressDisplay(keep=True) as display:
        try:
            yield on_event
        finally:
            for line in _format_failures(failures):
                display.print_line(line, style="yellow")


@contextmanager
def training_progress(steps: int | None) -> Iterator[StepCallback]:
    """Show a training run: a bar, or a line at intervals; each validation as a line.

    Args:
        steps: number of steps of the whole run; None if unknown.

    Yields:
        Callback for the values of each step.
    """
    with ProgressDisplay(keep=True) as display:
        if not display.visible:
            yield StepPrinter(steps)
            return

        def on_step(step: int, values: StepValues) -> None:
            display.update("steps", step, steps, describe_step(values))
            if values["validation_loss"] is not None:
                display.print_line(f"step {step:,}: {describe_step(values)}")

        yield on_step


def format_rate(done: int, elapsed_s: float) -> str:
    """Format a rate in units per second; empty if it is unknown."""
    return f"{done / elapsed_s:.2f}/s" if done and elapsed_s > 0 else ""


def _update_run_bars(display: ProgressDisplay, data: Mapping[str, Any]) -> None:
    counts = {"records": data["ok"] + data["failed"] + data["quarantined"]}
    counts |= {name: stage["records"] + stage["shared"] for name, stage in data["stages"].items()}
    for name, done in counts.items():
        display.update(name, done, data["records"], format_rate(done, data["elapsed_s"]))


def _describe_run_progress(data: Mapping[str, Any]) -> str:
    finished = data["ok"] + data["failed"] + data["quarantined"]
    stages = ", ".join(f"{name} {stage['records']}" for name, stage in data["stages"].items())
    done = [f"{finished} of {data['records']} records", format_rate(finished, data["elapsed_s"])]
    return f"{', '.join(filter(None, done))}; {stages}"


def _format_failures(failures: Counter[tuple[str, ...]]) -> list[str]:
    """Return a table of the reasons of failures with their counts, the most frequent ones first."""
    if not failures:
        return []
    rows = [(f"{count:,}", *reason) for reason, count in failures.most_common()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (f"{row[0]:>{widths[0]}}  " + "  ".join(map(str.ljust, row[1:], widths[1:])) for row in rows)
    return [f"failures by reason: {failures.total():,}", *(f"  {line.rstrip()}" for line in lines)]


def _describe_rejection(event: Event) -> str:
    data = event.data
    return f"{data['status']}: {data['record']}: {event.stage}: {data['code']}: {data['sentence']}"
