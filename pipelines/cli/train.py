"""`joyvasa train` and `joyvasa bundle`: train a motion generator and export it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import STOPPED
from pipelines.cli.options import ConfigFile, Device, Precision, Seed, Settings, local_path, merge_options
from pipelines.cli.progress import training_progress
from pipelines.training import RUN_FILE

if TYPE_CHECKING:
    from joyvasa.training.trainer import TrainingResult

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="Data set folder; a path or URI.")]
RunPath = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a training run; a path or URI.")]
Out = Annotated[str | None, typer.Option("--out", help="Run folder to create; a path or URI.", show_default=False)]
Steps = Annotated[int | None, typer.Option("--steps", help="Number of training steps (default: 50000).")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Number of worker processes, one per GPU; more than one run on Ray.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Time a few steps and print the estimated hours, without writing anything.")
]
BundleOut = Annotated[
    Path, typer.Option("--out", help="Bundle folder to create.", show_default=False, parser=local_path)
]
Base = Annotated[
    str | None, typer.Option("--base", metavar="BUNDLE", help="Model bundle whose other roles are copied.")
]
Step = Annotated[int | None, typer.Option("--step", help="Step of the checkpoint; the best one by default.")]
Published = Annotated[
    Path | None,
    typer.Option(
        "--published",
        help="Also write a checkpoint file in JoyVASA's published layout, and its template.",
        parser=local_path,
    ),
]

DRY_RUN_STEPS = 10


def train_command(
    dataset: DatasetPath,
    out: Out = None,
    steps: Steps = None,
    workers: Workers = 1,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Train a motion generator on a data set. Continue an interrupted run with `joyvasa resume`."""
    from joyvasa.training.config import TrainingConfig
    from pipelines.training.run import estimate_training_cost, start_training

    flags = {"steps": steps, "seed": seed, "device": device, "precision": precision}
    resolved = merge_options(TrainingConfig, config=config, settings=settings, flags=flags)
    if dry_run:
        cost = estimate_training_cost(dataset, resolved, steps=DRY_RUN_STEPS)
        typer.echo(
            f"{cost.device}: {cost.step_s:.3f} s per step of {cost.batch_size} samples, {cost.compute_share:.1%} of it "
            f"compute, {cost.peak_bytes / 2**30:.1f} GiB; {resolved.steps:,} steps take {cost.hours:.1f} hours"
        )
        return
    if out is None:
        raise typer.BadParameter("expected a folder for the run", param_hint="--out")

    with training_progress(resolved.steps) as on_step:
        result = start_training(dataset, out, resolved, workers=workers, on_step=on_step)
    print_training_result(out, result)


def bundle_command(
    run: RunPath, out: BundleOut, base: Base = None, step: Step = None, published: Published = None
) -> None:
    """Export a checkpoint of a training run as a model bundle."""
    from joyvasa.training.export import (
        check_bundle_arguments,
        load_trained_generator,
        write_bundle,
        write_published_checkpoint,
    )
    from manifests.storage import open_storage

    check_bundle_arguments(out, base)
    open_storage(out).require_writable()
    if published:
        open_storage(published.parent).require_writable(published.name)
    trained = load_trained_generator(open_storage(run), step)
    bundle = write_bundle(trained, out, base=base)
    other_roles = f", other roles from {base}" if base else "; use --base to add the roles that `animate` needs"
    typer.echo(f"{out}: motion generator of step {trained.progress.step:,}{other_roles}")
    if published:
        template = write_published_checkpoint(trained, published)
        typer.echo(f"{published}: checkpoint in the published layout")
        typer.echo(f"{template.name}: its motion template, for JoyVASA/motion_template/motion_template.pkl")
    if bundle.synthetic:
        typer.echo(f"warning: {base} has random weights, for tests only; videos will be meaningless", err=True)


def is_training_run(run: str) -> bool:
    """Return whether a folder is that of a training run."""
    from manifests.storage import open_storage

    return open_storage(run).exists(RUN_FILE)


def read_training_status(run: str) -> dict[str, int | float | None]:
    """Return the progress of a training run, from its newest checkpoint and its log."""
    from joyvasa.training.checkpoint import Checkpoints
    from joyvasa.training.log import read_log
    from manifests.storage import open_storage
    from pipelines.training.run import read_training_run

    storage = open_storage(run)
    checkpoints, log = Checkpoints(storage), read_log(storage)
    steps = checkpoints.steps()
    losses = [value for value in log["validation_loss"].to_pylist() if value is not None] if len(log) else []
    return {
        "steps": read_training_run(storage).config.steps,
        "done": steps[-1] if steps else 0,
        "best_step": checkpoints.best_step(),
        "loss": log["loss"][-1].as_py() if len(log) else None,
        "validation_loss": losses[-1] if losses else None,
    }


def resume_with_progress(run: str) -> None:
    """Resume a training run, show its progress and print its result."""
    from pipelines.training.run import resume_training

    with training_progress(None) as on_step:
        result = resume_training(run, on_step=on_step)
    print_training_result(run, result)


def print_training_result(run: str, result: TrainingResult) -> None:
    """Print the losses and speed of a training run; exit with 130 if it was stopped before its last step."""
    text = f"{run}: step {result.step:,} of {result.steps:,}"
    if result.loss is not None:
        text += f", loss {result.loss:.4f}"
    if result.validation_loss is not None:
        text += f", validation {result.validation_loss:.4f}"
    if result.step_s:
        text += f"; {result.step_s:.2f} s per step, {result.compute_share:.1%} of it compute"
    typer.echo(text)
    if result.step < result.steps:
        typer.echo(f"stopped; continue with `joyvasa resume {shlex.quote(run)}`", err=True)
        raise typer.Exit(STOPPED)
