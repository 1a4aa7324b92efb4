"""`joyvasa report`: a page and tables about a run."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.report.rows import Progress

Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder; a path or URI.")]
Compare = Annotated[
    list[str] | None,
    typer.Option("--compare", metavar="OTHER_RUN", help="Run folder to set beside it; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def report(run: Run, compare: Compare = None, as_json: AsJson = False) -> None:
    """Report on a run, finished or not: a page for people, the same figures as CSV and Parquet for scripts."""
    from pipelines.report.report import write_report

    with _progress() as progress:
        files = write_report(run, compare or (), on_progress=progress)
    if as_json:
        typer.echo(json.dumps(asdict(files), indent=2))
        return
    for path in asdict(files).values():
        typer.echo(path)


@contextmanager
def _progress() -> Generator[Progress]:
    """Bars on a terminal; nothing elsewhere, as it takes less than a minute."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:15}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks or done < bars.tasks[tasks[what]].completed:  # the next run has rows, too
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
