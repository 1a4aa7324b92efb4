"""`joyvasa generate`, `evaluate`, `resume`, `status` and `export`: runs over a manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.runs.generate import RunResult

NOT_ALL_OK = 3  # exit code: finished, but records failed

ManifestPath = Annotated[str, typer.Argument(metavar="MANIFEST", help="Parquet, CSV or JSON Lines; a path or URI.")]
Out = Annotated[str, typer.Option("--out", help="Run folder to make; a path or URI.", show_default=False)]
Tars = Annotated[str, typer.Option("--out", help="Folder for the tar files; a path or URI.", show_default=False)]
VideoManifest = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="With a column video; Parquet, CSV or JSON Lines; a path or URI.")
]
Name = Annotated[str, typer.Option("--name", help="Of the system that made the videos.", show_default=False)]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder; a path or URI.")]
Models = Annotated[str | None, typer.Option("--models", help="Model bundle: a name or a folder (default: joyvasa).")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the run (default: 0); records derive theirs from it.")]
ExecutorName = Annotated[str | None, typer.Option("--executor", help="ray (default) or local, in this process.")]
SaveMotion = Annotated[bool, typer.Option("--save-motion", help="Keep each motion as a file.")]
File = Annotated[Path | None, typer.Option("--config", help="YAML file with options, as run.yaml shows them.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="One option; may be repeated: --set animation.precision=bf16", metavar="KEY=VALUE"),
]
Retry = Annotated[
    list[str] | None, typer.Option("--retry", help="failed or quarantined: run these records again; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def generate(
    manifest: ManifestPath,
    out: Out,
    models: Models = None,
    seed: Seed = None,
    executor: ExecutorName = None,
    save_motion: SaveMotion = False,
    config: File = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Make a video for each row of a manifest. Exit code 3 if some rows failed."""
    from joyvasa.config import load_config
    from pipelines.cli.progress import run_progress
    from pipelines.runs.config import RunConfig
    from pipelines.runs.generate import generate as generate_videos

    flags = {"animation.models": models, "animation.seed": seed, "executor": executor}
    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    given += ["save_motion=true"] if save_motion else []
    resolved = load_config(RunConfig, file=config, settings=[*(settings or []), *given])
    with run_progress() as listener:
        result = generate_videos(manifest, out, resolved, listener=listener)
    report(result, as_json=as_json)


def resume(run: Run, retry: Retry = None, as_json: AsJson = False) -> None:
    """Go on with a run; needs nothing but its folder. Exit code 3 if some rows failed."""
    from pipelines.cli import train
    from pipelines.cli.progress import run_progress
    from pipelines.runs.resume import resume as resume_run
    from pipelines.training.files import is_training

    if wrong := set(retry or ()) - {"failed", "quarantined"}:
        raise typer.BadParameter(f"{min(wrong)}: expected failed or quarantined", param_hint="--retry")
    if is_training(run):
        if retry or as_json:
            option = "--retry" if retry else "--json"
            raise typer.BadParameter(f"{run} is a training run; expected one over a manifest", param_hint=option)
        train.resume(run)
        return
    with run_progress() as listener:
        result = resume_run(run, retry=retry or (), listener=listener)
    report(result, as_json=as_json)


def evaluate(
    manifest: VideoManifest,
    name: Name,
    out: Out,
    executor: ExecutorName = None,
    config: File = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure the video of each row of a manifest, whoever made it. Exit code 3 if some rows failed."""
    from joyvasa.config import load_config
    from pipelines.cli.progress import run_progress
    from pipelines.runs.config import RunConfig
    from pipelines.runs.evaluate import evaluate as evaluate_videos

    given = [] if executor is None else [f"executor={json.dumps(executor)}"]
    resolved = load_config(RunConfig, file=config, settings=[*(settings or []), *given])
    with run_progress() as listener:
        result = evaluate_videos(manifest, out, name, resolved, listener=listener)
    report(result, as_json=as_json)


def status(run: Run, as_json: AsJson = False) -> None:
    """Tell how far a run is, while it works or afterwards."""
    from pipelines.cli import train
    from pipelines.training.files import is_training

    values = train.status(run) if is_training(run) else _status(run)
    if as_json:
        typer.echo(json.dumps({"run": run, **values}, indent=2))
        return
    for name, value in values.items():
        shown = "-" if value is None else f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"
        typer.echo(f"{name.replace('_', ' '):16} {shown}")


def _status(run: str) -> dict[str, int]:
    from manifests.run.folder import RunFolder
    from manifests.storage import open_storage

    folder = RunFolder(open_storage(run))
    counts = folder.counts(folder.manifest())
    return {
        "records": counts.records,
        "pending": counts.pending,
        **{name: counts.statuses.get(name, 0) for name in ("ok", "failed", "quarantined")},
        "shards": counts.shards,
        "finished_shards": counts.finished_shards,
    }


def export(run: Run, out: Tars) -> None:
    """Write the videos of finished shards as WebDataset tar files, one a shard."""
    from pipelines.runs.export import export_webdataset

    n_records = 0
    for path, count in export_webdataset(run, out):
        typer.echo(f"{path}: {count:,} records")
        n_records += count
    typer.echo(f"{out}: {n_records:,} records")


def report(result: RunResult, *, as_json: bool = False) -> None:
    """Prints what a run came to; exit code 3 if not every record is ok."""
    counts = result.counts
    if as_json:
        typer.echo(json.dumps({"run": result.folder, "statuses": counts.statuses, **result.statistics}, indent=2))
    else:
        statuses = ", ".join(f"{counts.statuses.get(name, 0):,} {name}" for name in ("ok", "failed", "quarantined"))
        typer.echo(f"{result.folder}: {counts.records:,} records: {statuses}; {result.statistics['elapsed_s']:.1f} s")
        for name, stage in result.statistics["stages"].items():
            print(
                f"  {name:15} {stage['records']:>7,} computed, {stage['shared']:>7,} shared, "
                f"batches {stage['batch_fill']:.0%} full, {stage['busy_s']:.1f} s busy",
                file=sys.stderr,
            )
    if not result.all_ok:
        raise typer.Exit(NOT_ALL_OK)
