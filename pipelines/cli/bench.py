"""`joyvasa bench`: measure the speed of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.bench import SECTIONS
from pipelines.cli.options import ConfigFile, Settings, local_path, merge_options
from pipelines.cli.progress import build_console

Models = Annotated[
    str | None,
    typer.Option(
        "--models", help="Model bundle (default: networks of the published sizes with random weights, equally fast)."
    ),
]
Only = Annotated[
    str | None,
    typer.Option("--only", help=f"Comma-separated sections to run: {', '.join(SECTIONS)}. Runs all by default."),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="JSON file to write the results to.", show_default=False, parser=local_path)
]
Quick = Annotated[bool, typer.Option("--quick", help="Run a shorter benchmark, for slow machines.")]


def bench_command(
    models: Models = None,
    only: Only = None,
    out: Out = None,
    quick: Quick = False,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Measure the speed of the networks, the stages and the whole pipeline on this machine."""
    from joyvasa.runtime.files import check_writable
    from manifests.scratch import scratch_folder
    from pipelines.bench.bench import run_bench
    from pipelines.bench.config import BenchConfig
    from pipelines.bench.inputs import write_seeded_bundle
    from pipelines.bench.table import build_tables
    from pipelines.runs.config import RunConfig

    if out is not None:
        check_writable(out, [config] if config else [])
    sections = tuple(name.strip() for name in only.split(",")) if only is not None else SECTIONS
    with scratch_folder() as folder:
        flags = {"animation.models": str(folder / "published-sizes") if models is None else models}
        run = merge_options(RunConfig, config=config, settings=settings, flags=flags).with_absolute_paths()
        bench = BenchConfig(run=run, sections=sections)
        if models is None:
            write_seeded_bundle(folder / "published-sizes")
        document = run_bench(
            bench.quick() if quick else bench, lambda name: print(f"measuring: {name}", file=sys.stderr)
        )

    console = build_console(width=None if sys.stdout.isatty() else 160)
    for table in build_tables(document):
        console.print(table)
    if out is not None:
        document.write(out)
