"""`joyvasa report`: write a page and tables about a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.cli.options import AsJson, Run
from pipelines.cli.progress import ProgressDisplay

Compare = Annotated[
    list[str] | None,
    typer.Option("--compare", metavar="RUN", help="Run folder to compare with; may be repeated."),
]


def report_command(run: Run, compare: Compare = None, as_json: AsJson = False) -> None:
    """Write a report of a finished or unfinished run: an HTML page, and its figures as CSV and Parquet."""
    from pipelines.report.report import write_report

    with ProgressDisplay() as progress:
        files = write_report(run, compare or (), on_progress=progress.update)
    if as_json:
        typer.echo(json.dumps(asdict(files), indent=2))
        return
    for path in asdict(files).values():
        typer.echo(path)
