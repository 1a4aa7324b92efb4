"""`joyvasa train` and `bundle`: a data set becomes a motion generator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import STOPPED
from pipelines.cli.options import ConfigFile, Device, Precision, Seed, Settings, merge_options
from pipelines.cli.progress import training_progress

if TYPE_CHECKING:
    from joyvasa.training.step_cost import StepCost
    from joyvasa.training.trainer import TrainingResult

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="Data set folder; a path or URI.")]
RunPath = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a training run; a path or URI.")]
Out = Annotated[str | None, typer.Option("--out", help="Run folder to make; a path or URI.", show_default=False)]
Steps = Annotated[int | None, typer.Option("--steps", help="Training steps (default: 50000).")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes or GPUs that train together, on Ray.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Measure a few steps, tell the hours, write nothing.")]
BundleOut = Annotated[Path, typer.Option("--out", help="Bundle folder to make.", show_default=False)]
Base = Annotated[str | None, typer.Option("--base", help="Bundle that gives everything else; its files are copied.")]
Step = Annotated[int | None, typer.Option("--step", help="Step of the checkpoint (default: the best one).")]
Published = Annotated[
    Path | None, typer.Option("--published", help="Write a checkpoint in the layout of the published ones, too.")
]

DRY_STEPS = 10  # that are measured


def train(
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
    """Train a motion generator on a data set. `joyvasa resume RUN` goes on with it."""
    from joyvasa.training.config import TrainingConfig
    from pipelines.training import run as training

    flags = {"steps": steps, "seed": seed, "device": device, "precision": precision}
    resolved = merge_options(TrainingConfig, config=config, settings=settings, flags=flags)
    if dry_run:
        print_cost(training.dry_run(dataset, resolved, steps=DRY_STEPS), resolved.steps)
        return
    if out is None:
        raise typer.BadParameter("expected a folder for the run", param_hint="--out")
    with training_progress(resolved.steps) as listener:
        result = training.start(dataset, out, resolved, workers=workers, listener=listener)
    print_result(out, result)


def bundle(run: RunPath, out: BundleOut, base: Base = None, step: Step = None, published: Published = None) -> None:
    """Make a model bundle of a training run."""
    from joyvasa.training.export import load_trained_generator, write_bundle, write_published_checkpoint
    from manifests.storage import open_storage

    trained = load_trained_generator(open_storage(run), step)
    made = write_bundle(trained, out, base=base)
    told = f"{out}: motion generator of step {trained.progress.step:,}"
    typer.echo(f"{told}, all else from {base}" if base else f"{told}; --base NAME adds what `animate` needs beside it")
    if published:
        write_published_checkpoint(trained, published)
        typer.echo(f"{published}: the same in the published layout")
    if made.synthetic:
        typer.echo(f"warning: {base} has random weights, for tests only; pictures will mean nothing", err=True)


def training_status(run: str) -> dict[str, int | float | None]:
    """Return how far a training run is, from its newest checkpoint and its log."""
    from joyvasa.training.checkpoint import Checkpoints
    from joyvasa.training.log import read_log
    from manifests.storage import open_storage
    from pipelines.training.run import read_run

    storage = open_storage(run)
    checkpoints, log = Checkpoints(storage), read_log(storage)
    steps = checkpoints.steps()
    validated = [value for value in log["validation_loss"].to_pylist() if value is not None] if len(log) else []
    return {
        "steps": read_run(storage).config.steps,
        "done": steps[-1] if steps else 0,
        "best_step": checkpoints.best(),
        "loss": log["loss"][-1].as_py() if len(log) else None,
        "validation_loss": validated[-1] if validated else None,
    }


def resume_training(run: str) -> None:
    """Resume a training run."""
    from pipelines.training import run as training

    with training_progress(None) as listener:
        result = training.resume(run, listener=listener)
    print_result(run, result)


def print_result(run: str, result: TrainingResult) -> None:
    """Print the figures of a training run; exit with 130 if it was stopped before its last step."""
    checked = "" if result.validation_loss is None else f", validation {result.validation_loss:.4f}"
    typer.echo(
        f"{run}: step {result.step:,} of {result.steps:,}, loss {result.loss:.4f}{checked}; "
        f"{result.step_s:.2f} s a step, "
        f"{result.compute_share:.1%} of it compute"
    )
    if result.step < result.steps:
        typer.echo(f"stopped; `joyvasa resume {run}` goes on", err=True)
        raise typer.Exit(STOPPED)


def print_cost(cost: StepCost, steps: int) -> None:
    """Print the time of a step and of the whole run."""
    typer.echo(
        f"{cost.device}: {cost.step_s:.3f} s a step of {cost.batch_size} samples, {cost.compute_share:.1%} of it "
        f"compute, {cost.peak_bytes / 2**30:.1f} GiB; {steps:,} steps take {cost.hours:.1f} hours"
    )
