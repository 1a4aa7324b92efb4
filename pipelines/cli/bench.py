"""`joyvasa bench`: how fast this machine is, and how much faster than the plain way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

Models = Annotated[
    str | None,
    typer.Option(
        "--models", help="Model bundle (default: the published sizes with seeded weights, which are as fast)."
    ),
]
Only = Annotated[
    str | None,
    typer.Option("--only", help="Some of networks, chain, engine, scaling, gains, encoding, separated by commas."),
]
Out = Annotated[Path | None, typer.Option("--out", help="File for all figures as JSON.", show_default=False)]
Quick = Annotated[bool, typer.Option("--quick", help="Less of everything: for a slow machine.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with options, as for generate.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="One option of generate, key=value; may be repeated.", metavar="KEY=VALUE"),
]


def bench(
    models: Models = None,
    only: Only = None,
    out: Out = None,
    quick: Quick = False,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Measure this machine: networks, stages, the whole chain, and all of it against the plain way."""
    from rich.console import Console

    from joyvasa.config import load_config
    from joyvasa.errors import OutputError
    from pipelines.bench.bench import run_bench
    from pipelines.bench.config import SECTIONS, BenchConfig
    from pipelines.bench.passage import scratch
    from pipelines.bench.seeded import write_seeded_bundle
    from pipelines.bench.table import tables
    from pipelines.runs.config import RunConfig
    from pipelines.runs.driver import with_absolute_paths

    if out is not None and not out.parent.is_dir():
        raise OutputError(
            "output_unwritable", f"{out}: its folder does not exist; expected one: make it, or choose another"
        )
    sections = tuple(name.strip() for name in only.split(",")) if only else SECTIONS
    with scratch() as folder:
        if models is None:
            write_seeded_bundle(folder / "published-sizes")
        chosen = models or str(folder / "published-sizes")
        given = [*(settings or []), f"animation.models={json.dumps(chosen)}"]
        run = with_absolute_paths(load_config(RunConfig, file=config, settings=given))
        amounts = BenchConfig(run=run, sections=sections)
        document = run_bench(
            amounts.quick() if quick else amounts, lambda name: print(f"measuring: {name}", file=sys.stderr)
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables(document):
        console.print(table)
    if out is not None:
        document.write(out)
