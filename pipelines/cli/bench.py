"""`joyvasa bench`: how fast this machine is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.bench import SECTIONS
from pipelines.cli.options import ConfigFile, Settings, merge_options

Models = Annotated[
    str | None,
    typer.Option(
        "--models", help="Model bundle (default: the published sizes with seeded weights, which are as fast)."
    ),
]
Only = Annotated[
    str | None,
    typer.Option("--only", help=f"Some of {', '.join(SECTIONS)}, separated by commas."),
]
Out = Annotated[Path | None, typer.Option("--out", help="File for all figures as JSON.", show_default=False)]
Quick = Annotated[bool, typer.Option("--quick", help="Less of everything: for a slow machine.")]


def bench(
    models: Models = None,
    only: Only = None,
    out: Out = None,
    quick: Quick = False,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Measure this machine: networks, plain and accelerated, stages and the whole chain."""
    from rich.console import Console

    from joyvasa.errors import OutputError
    from pipelines.bench.bench import run_bench
    from pipelines.bench.config import BenchConfig
    from pipelines.bench.seeded_bundle import write_seeded_bundle
    from pipelines.bench.table import result_tables
    from pipelines.bench.timed_run import scratch_folder
    from pipelines.runs.config import RunConfig
    from pipelines.runs.driver import with_absolute_paths

    if out is not None and not out.parent.is_dir():
        raise OutputError(
            "output_unwritable", f"{out}: its folder does not exist; expected one: make it, or choose another"
        )
    sections = tuple(name.strip() for name in only.split(",")) if only else SECTIONS
    with scratch_folder() as folder:
        if models is None:
            write_seeded_bundle(folder / "published-sizes")
        chosen = models or str(folder / "published-sizes")
        flags = {"animation.models": chosen}
        run = with_absolute_paths(merge_options(RunConfig, config=config, settings=settings, flags=flags))
        amounts = BenchConfig(run=run, sections=sections)
        document = run_bench(
            amounts.quick() if quick else amounts, lambda name: print(f"measuring: {name}", file=sys.stderr)
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in result_tables(document):
        console.print(table)
    if out is not None:
        document.write(out)
