"""`joyvasa demo`: the bundled portraits speak; shows that the whole pipeline works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import manifests

MANIFEST = Path(manifests.__file__).parent / "examples/pairs.csv"
BUNDLE = "random"  # needs no download

Out = Annotated[Path, typer.Option("--out", help="Run folder to make; an unfinished one is resumed.")]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="ray, or local for in this process; a demo that is resumed keeps its own.")
]


def demo(out: Out = Path("demo"), executor: ExecutorName = "ray") -> None:
    """Run the bundled manifest, three portraits with two recordings each, to the end."""
    from joyvasa.config import load_config
    from manifests.run_folder import RunFolder
    from pipelines import generate as runs
    from pipelines.progress import run_progress
    from pipelines.run_config import RunConfig
    from pipelines.runs import report

    print(f"{MANIFEST}: models {BUNDLE}: random weights, for tests only; the pictures mean nothing", file=sys.stderr)
    config = load_config(RunConfig, settings=[f"animation.models={BUNDLE}", f"executor={executor}"])
    with run_progress() as listener:
        if (out / RunFolder.RUN).exists():
            result = runs.resume(out, listener=listener)
        else:
            result = runs.generate(MANIFEST, out, config, listener=listener)
    report(result)
    typer.echo(f"videos: {out}/shards/00000/videos")
