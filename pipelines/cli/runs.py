"""`joyvasa generate`, `evaluate`, `resume` and `status`: run the pipeline on manifests, or only check it."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import ROWS_FAILED, train
from pipelines.cli.manifest import build_probes, print_plan
from pipelines.cli.options import (
    AsJson,
    ConfigFile,
    Executor,
    Limit,
    ManifestPath,
    Models,
    Preset,
    Run,
    RunOut,
    Seed,
    Settings,
    Where,
    merge_options,
    print_json,
)
from pipelines.cli.progress import ProgressDisplay, describe_estimate, run_progress

if TYPE_CHECKING:
    from pipelines.runs.config import RunConfig
    from pipelines.runs.driver import RunDefinition, RunResult
    from pipelines.runs.dry_run import DryRun as CheckedRun

VideoManifest = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST", help="Manifest with a column `video`, in Parquet, CSV or JSON Lines; a path or URI."
    ),
]
Name = Annotated[str, typer.Option("--name", help="Name of the system that generated the videos.", show_default=False)]
SaveMotion = Annotated[bool, typer.Option("--save-motion", help="Also save the motion of each record as a file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check rows, files and options, print the plan, and stop.")]
Retry = Annotated[
    list[str] | None,
    typer.Option(
        "--retry", help="Retry records: failed, quarantined, or missing (their files are lost); may be repeated."
    ),
]

Watch = Annotated[bool, typer.Option("--watch", help="Follow a running run until it ends.")]
WATCH_S = 2.0  # between two looks at the events of a run


def generate_command(
    manifest: ManifestPath,
    out: RunOut,
    models: Models = None,
    seed: Seed = None,
    executor: Executor = None,
    save_motion: SaveMotion = False,
    preset: Preset = None,
    where: Where = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Generate a video for each row of a manifest. Exits with 3 if some rows failed."""
    from pipelines.runs.config import RunConfig
    from pipelines.runs.generate import GenerateRun, generate_videos

    flags = {"animation.models": models, "animation.seed": seed, "executor": executor, "limit": limit}
    flags |= {"save_motion": save_motion or None, "where": where or None}  # else --config and --set decide
    resolved = merge_options(RunConfig, preset=preset, config=config, settings=settings, flags=flags)
    if dry_run:
        _print_dry_run(GenerateRun(), manifest, out, resolved, as_json=as_json)
        return
    with run_progress() as on_event:
        result = generate_videos(manifest, out, resolved, on_event=on_event)
    print_run_result(result, as_json=as_json)


def resume_command(run: Run, retry: Retry = None, as_json: AsJson = False) -> None:
    """Resume a run of generate, evaluate, prepare or train. Exits with 3 if some rows failed."""
    from manifests.run.folder import MISSING, RunFolder
    from manifests.storage import open_storage
    from pipelines.runs.resume import resume_run

    if wrong := set(retry or ()) - {"failed", "quarantined", MISSING}:
        raise typer.BadParameter(f"{min(wrong)}: expected failed, quarantined or missing", param_hint="--retry")
    if train.is_training_run(run):
        if retry or as_json:
            option = "--retry" if retry else "--json"
            raise typer.BadParameter(f"{run} is a training run; expected one over a manifest", param_hint=option)
        train.resume_with_progress(run)
        return

    with run_progress() as on_event:
        result = resume_run(run, retry=retry or (), on_event=on_event)
    if result.already_finished and (missing := len(RunFolder(open_storage(run)).find_missing_files())):
        typer.echo(f"note: missing files: {missing:,}; --retry {MISSING} makes them again", err=True)
    print_run_result(result, as_json=as_json)


def evaluate_command(
    manifest: VideoManifest,
    name: Name,
    out: RunOut,
    executor: Executor = None,
    where: Where = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Compute metrics for existing videos, from any system. Exits with 3 if some rows failed."""
    from pipelines.runs.config import RunConfig
    from pipelines.runs.evaluate import EvaluateRun, check_evaluation, evaluate_videos

    flags = {"executor": executor, "where": where or None, "limit": limit}
    resolved = merge_options(RunConfig, config=config, settings=settings, flags=flags)
    if dry_run:
        check_evaluation(name, resolved)
        _print_dry_run(EvaluateRun(), manifest, out, resolved, name=name, as_json=as_json)
        return
    with run_progress() as on_event:
        result = evaluate_videos(manifest, out, name, resolved, on_event=on_event)
    print_run_result(result, as_json=as_json)


def status_command(run: Run, watch: Watch = False, as_json: AsJson = False) -> None:
    """Show the progress of a running or finished run."""
    is_training = train.is_training_run(run)
    if watch and is_training:
        raise typer.BadParameter(f"{run} is a training run; expected one over a manifest", param_hint="--watch")
    if watch:
        _watch_run(run)
    values: dict[str, Any] = {**(train.read_training_status(run) if is_training else _read_run_status(run))}
    if as_json:
        print_json({"run": run, **values})
        return
    if estimate := values.pop("estimate", None):
        values |= describe_estimate(estimate)
    for name, value in values.items():
        typer.echo(f"{name.replace('_', ' '):16} {_format_status(value)}")


def _format_status(value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


def _watch_run(run: str) -> None:
    """Show the progress of a run while it is running."""
    from manifests.storage import open_storage
    from pipelines.engine.events import Event, EventKind
    from pipelines.runs.activity import read_activity

    storage, shown = open_storage(run), None
    with run_progress() as on_event:
        # The events alone show that a run has ended; its shards are not read again and again.
        while (activity := read_activity(storage, pending=1)).kind == "running":
            if activity.progress and activity.estimate and activity.progress != shown:
                shown = activity.progress
                on_event(Event(EventKind.PROGRESS, data=shown))
            time.sleep(WATCH_S)


def _read_run_status(run: str) -> dict[str, Any]:
    from manifests.run.folder import RunFolder
    from manifests.run.outcome import STATUSES
    from manifests.storage import open_storage
    from pipelines.runs.activity import read_activity

    folder = RunFolder(open_storage(run))
    done = folder.read_done_markers()
    counts = folder.count_records(folder.read_manifest(), done)
    activity = read_activity(folder.storage, pending=counts.pending)
    missing = len(folder.find_missing_files(done))
    return {
        "activity": f"{activity.kind}: {activity.sentence}" if activity.sentence else activity.kind,
        "records": counts.records,
        "pending": counts.pending,
        **{name: counts.statuses.get(name, 0) for name in STATUSES},
        "shards": counts.shards,
        "finished_shards": counts.finished_shards,
        "missing_files": missing,  # of finished shards; `resume --retry missing` makes them again
        "estimate": asdict(activity.estimate) if activity.estimate else None,
    }


def print_run_result(result: RunResult, *, as_json: bool = False) -> None:
    """Print the counts of a run; exit with 3 if some records are not ok."""
    from manifests.run.outcome import STATUSES

    counts = result.counts
    if as_json:
        print_json({"run": result.folder, "statuses": counts.statuses, **result.statistics})
    else:
        statuses = ", ".join(f"{counts.statuses.get(name, 0):,} {name}" for name in STATUSES)
        end = "finished already" if result.already_finished else f"{result.statistics['elapsed_s']:.1f} s"
        typer.echo(f"{result.folder}: {counts.records:,} records: {statuses}; {end}")
        for name, stage in result.statistics["stages"].items():
            print(
                f"  {name:15} {stage['records']:>7,} computed, {stage['shared']:>7,} shared, "
                f"batches {stage['batch_fill']:.0%} full, {stage['busy_s']:.1f} s busy",
                file=sys.stderr,
            )
    if not result.all_ok:
        raise typer.Exit(ROWS_FAILED)


def _print_dry_run(
    definition: RunDefinition, manifest: str, out: str, config: RunConfig, *, name: str = "", as_json: bool = False
) -> None:
    """Check a run and print its rows, its work and its stages; exit with 3 if files are missing."""
    from pipelines.runs.dry_run import check_run

    probes = None if definition.reads_videos else build_probes(config.animation.models)
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
        print_json(checked.as_dict())
    else:
        _print_plan(checked)
    if checked.summary.scan.bad_rows:
        raise typer.Exit(ROWS_FAILED)


def _print_plan(checked: CheckedRun) -> None:
    counts = checked.as_dict()
    typer.echo(f"{counts['run']}: not created; a run would use {counts['records']:,} of {counts['rows']:,} rows")
    for reason, number in (("do not meet --where", counts["left_out"]), ("are bad and skipped", counts["bad_rows"])):
        if number:
            typer.echo(f"  {number:,} {reason}")
    print_plan(checked.summary)
    typer.echo(f"{'stage':22} {'workers':>7} {'batch':>5} {'CPUs':>5} {'GPUs':>5}")
    for stage in counts["stages"]:
        size = f"{stage['workers']:>7} {stage['batch_size']:>5} {stage['num_cpus']:>5g} {stage['num_gpus']:>5.3g}"
        typer.echo(f"{stage['name']:22} {size}")
