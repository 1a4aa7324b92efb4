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
    from stages.base import WorkUnit

LINE_S = 10.0  # interval of lines without a terminal
UNIT_NAMES: Mapping[WorkUnit, str] = {
    "record": "records",
    "portrait": "portraits",
    "second": "s of sound",
    "distinct_second": "s of sound",
    "frame": "frames",
}
SHOWN_FAILURES = 5  # failures of each reason that are printed as they happen; all are counted


def build_console(**options: Any) -> Console:
    """Return a console that prints texts as they are: names of files and records may look like markup or emoji codes.

    Args:
        options: other arguments of `rich.console.Console`.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)


class ProgressDisplay:
    """Context manager that shows progress on standard error: bars on a terminal, otherwise a line at intervals.

    Args:
        keep: whether to leave the bars on the screen at the end.
        enabled: whether to show progress.
        times: whether bars show a remaining time of their own.
    """

    def __init__(self, *, keep: bool = False, enabled: bool = True, times: bool = True) -> None:
        console = build_console(stderr=True)
        self.visible = enabled and console.is_terminal
        self._lines = enabled and not console.is_terminal
        self._line_at = time.monotonic()
        self._starts: dict[str, tuple[float, float]] = {}  # time and count of the first update of each step
        self._bars = Progress(
            TextColumn("{task.description:15}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            *([TimeRemainingColumn()] if times else []),
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

    def update(self, name: str, done: float, total: int | None = None, note: str | None = None) -> None:
        """Update a step; one that starts again gets a new bar.

        Args:
            name: name of the step, the title of its bar.
            done: number of finished units.
            total: total number of units; None if unknown.
            note: text next to the bar; None for the rate since the first update of the bar.
        """
        if self._lines:
            self._print_step(name, done, total, note)
        if not self.visible:
            return

        if name not in self._tasks or done < self._bars.tasks[self._tasks[name]].completed:
            self._tasks[name] = self._bars.add_task(name, total=total, note="")
        task = self._tasks[name]
        shown = format_rate(done, self._bars.tasks[task].elapsed or 0.0) if note is None else note
        self._bars.update(task, completed=done, total=total, note=shown)

    def _print_step(self, name: str, done: float, total: int | None, note: str | None) -> None:
        now = time.monotonic()
        start, first = self._starts.setdefault(name, (now, done))
        if now - self._line_at < LINE_S:
            return
        self._line_at = now
        of = f" of {total:,}" if total is not None else ""
        parts = [f"{name}: {done:,.0f}{of}", format_rate(done - first, now - start) if note is None else note]
        if total and done > first:
            parts.append(f"{format_duration((total - done) * (now - start) / (done - first))} left")
        self.print_line(", ".join(filter(None, parts)))

    def print_line(self, line: str, style: str | None = None) -> None:
        """Print a line above the bars."""
        if self.visible:
            self._bars.console.print(line, style=style)
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
    shown: dict[str, float] = {}  # count of each bar; a batch that is retried starts again, its bar does not

    def on_event(event: Event) -> None:
        nonlocal shown_at
        if event.kind is EventKind.RECORD_REJECTED:
            reason = (event.data["status"], event.stage or "", event.data["code"])
            failures[reason] += 1
            if failures[reason] <= SHOWN_FAILURES:
                described = (reason[0], event.data["record"], *reason[1:], event.data["sentence"])
                display.print_line(": ".join(described), style="yellow")
        elif event.kind is EventKind.WAITING:
            display.print_line(f"waiting: stage {event.stage}: {event.data['sentence']}", style="yellow")
        elif event.kind is EventKind.PROGRESS and display.visible:
            _update_run_bars(display, event.data, shown)
        elif event.kind is EventKind.PROGRESS and time.monotonic() - shown_at >= LINE_S:
            shown_at = time.monotonic()
            display.print_line(_describe_run_progress(event.data))

    with ProgressDisplay(keep=True, times=False) as display:
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


def format_rate(done: float, elapsed_s: float) -> str:
    """Format a rate in units per second; empty if it is unknown."""
    return f"{done / elapsed_s:.2f}/s" if done and elapsed_s > 0 else ""


def format_duration(seconds: float) -> str:
    """Format a duration in the two largest units: `24 s`, `1 min 24 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours < 1:
        return f"{minutes:.0f} min {seconds % 60:02.0f} s"
    if days < 1:
        return f"{hours:.0f} h {minutes % 60:02.0f} min"
    return f"{days:,.0f} d {hours % 24:.0f} h"


def describe_estimate(estimate: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known about the rate and the remaining time of a run: `slowest stage` and `time left`.

    Args:
        estimate: plain values of `pipelines.engine.statistics.Estimate`.
    """
    described = {}
    if estimate["slowest"]:
        unit, rate = UNIT_NAMES[estimate["unit"]], estimate["units_per_s"]
        shown_rate = f", {rate:.3g} {unit}/s" if rate else ""
        described["slowest stage"] = f"{estimate['slowest']}, {estimate['units']:,.0f} {unit}{shown_rate}"
    if estimate["left_s"] is not None:
        described["time left"] = ("at least " if estimate["at_least"] else "") + format_duration(estimate["left_s"])
    return described


def _update_run_bars(display: ProgressDisplay, data: Mapping[str, Any], shown: dict[str, float]) -> None:
    estimate = describe_estimate(data["estimate"])
    left = f"{estimate['time left']} left" if "time left" in estimate else ""
    display.update("records", _count_finished(data), data["records"], left)
    for name, stage in data["stages"].items():
        note = estimate.get("slowest stage", "") if name == data["estimate"]["slowest"] else ""
        done = stage["records"] + stage["shared"] + stage["partial_records"]
        shown[name] = max(done, shown.get(name, 0.0))
        display.update(name, shown[name], data["records"], note.partition(", ")[2])


def _describe_run_progress(data: Mapping[str, Any]) -> str:
    estimate = describe_estimate(data["estimate"])
    parts = [f"{format_duration(data['elapsed_s'])}: {_count_finished(data):,} of {data['records']:,} records"]
    # While only quick stages have results, their rate and a time left say nothing about the run.
    left_s = data["estimate"]["left_s"]
    is_early = data["estimate"]["at_least"] and left_s is not None and left_s < 1
    starting = [name for name, stage in data["stages"].items() if not stage["workers"]]
    if data["first_batch_s"] is None:
        parts.append("workers are starting")
    elif is_early and starting:
        parts.append(f"workers are starting: {', '.join(starting)}")
    if "slowest stage" in estimate and not is_early:
        parts.append(f"slowest stage {estimate['slowest stage']}")
    if "time left" in estimate and not is_early:
        parts.append(f"{estimate['time left']} left")
    return "; ".join(parts)


def _count_finished(data: Mapping[str, Any]) -> int:
    return data["ok"] + data["failed"] + data["quarantined"]


def _format_failures(failures: Counter[tuple[str, ...]]) -> list[str]:
    """Return a table of the reasons of failures with their counts, the most frequent ones first."""
    if not failures:
        return []
    rows = [(f"{count:,}", *reason) for reason, count in failures.most_common()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (f"{row[0]:>{widths[0]}}  " + "  ".join(map(str.ljust, row[1:], widths[1:])) for row in rows)
    return [f"failures by reason: {failures.total():,}", *(f"  {line.rstrip()}" for line in lines)]
