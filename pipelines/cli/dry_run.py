"""`--dry-run` of `joyvasa generate` and `joyvasa evaluate`: check a run, print its plan, and stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from pipelines.cli import ROWS_FAILED
from pipelines.cli.manifest import print_plan, probe_duration, read_sizes
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from pipelines.runs.config import RunConfig
    from pipelines.runs.driver import RunDefinition
    from pipelines.runs.dry_run import DryRun


def print_dry_run(
    definition: RunDefinition, manifest: str, out: str, config: RunConfig, *, name: str = "", as_json: bool = False
) -> None:
    """Check a run and print its rows, its work and its stages; exit with 3 if files are missing.

    Args:
        definition: kind of the run.
        manifest: manifest; a path or URI.
        out: run folder, which is not created; a path or URI.
        config: options of the run.
        name: name of the system that generated the videos; empty if the run generates them.
        as_json: whether to print JSON.
    """
    from manifests.stats import Probes
    from pipelines.runs.dry_run import check_run

    probes = None if definition.reads_videos else Probes(read_sizes(config.animation.models), audio=probe_duration)
    with ProgressDisplay(enabled=not as_json) as progress:
        checked = check_run(
            definition,
            manifest,
            out,
            config,
            name=name,
            probes=probes,
            on_rows=lambda rows: progress.update("rows checked", rows),
        )
    if as_json:
        typer.echo(json.dumps(checked.as_dict(), indent=2))
    else:
        _print_plan(checked)
    if checked.summary.scan.bad_rows:
        raise typer.Exit(ROWS_FAILED)


def _print_plan(checked: DryRun) -> None:
    counts = checked.as_dict()
    typer.echo(f"{checked.folder}: not created; a run would use {counts['records']:,} of {counts['rows']:,} rows")
    for reason, number in (("do not meet --where", counts["left_out"]), ("are bad and skipped", counts["bad_rows"])):
        if number:
            typer.echo(f"  {number:,} {reason}")
    print_plan(checked.summary)
    typer.echo(f"{'stage':22} {'workers':>7} {'batch':>5} {'CPUs':>5} {'GPUs':>5}")
    for stage in counts["stages"]:
        size = f"{stage['workers']:>7} {stage['batch_size']:>5} {stage['num_cpus']:>5g} {stage['num_gpus']:>5.3g}"
        typer.echo(f"{stage['name']:22} {size}")
