"""`joyvasa validate` and `joyvasa plan`: what a manifest holds, before any work."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import ROWS_FAILED
from pipelines.cli.options import AsJson, ManifestPath, merge_options
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from manifests.estimate import RateProfile
    from manifests.problems import Problem, ScanSummary
    from manifests.stats import VideoSizes
    from manifests.summary import ManifestSummary
    from pipelines.runs.config import RunConfig

READING = "rows read"  # title of the progress bar

MaxReport = Annotated[int, typer.Option("--max-report", min=0, help="Bad values shown; all are counted.")]
Files = Annotated[bool, typer.Option("--files/--no-files", help="Look up the local files that rows name.")]
Videos = Annotated[bool, typer.Option("--videos", help="Rows bring finished videos, for evaluate or prepare.")]
Remote = Annotated[bool, typer.Option("--remote", help="Look up URIs too.")]
ShardSize = Annotated[int | None, typer.Option("--shard-size", min=1, help="Rows of a shard; default 256.")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Read no media: no lengths, and files are not looked up.")]
ProfilePath = Annotated[
    str | None,
    typer.Option("--profile", metavar="FILE|RUN", help="Measured rates: YAML, JSON of joyvasa bench, or a run."),
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the rates first: run a few rows here and throw the videos away.")
]
ModelsName = Annotated[
    str | None, typer.Option("--models", help="Model bundle whose frame rate and windows count (default: sample).")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="With --measure: YAML file with options of generate.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="With --measure: one option of generate.", metavar="KEY=VALUE")
]


def validate(
    manifest: ManifestPath,
    files: Files = True,
    remote: Remote = False,
    videos: Videos = False,
    max_report: MaxReport = 20,
    as_json: AsJson = False,
) -> None:
    """Check every row of a manifest and report every bad one. Exit code 3 if there are any."""
    from manifests.manifest import open_manifest
    from manifests.media_files import MediaFileCheck, MediaFileCheckConfig
    from manifests.scan import Scan

    shown: list[dict[str, Any]] = []
    with _reading_progress(as_json) as progress, MediaFileCheck(MediaFileCheckConfig(remote=remote)) as check:
        scan = Scan(open_manifest(manifest), files=check if files else None, videos=videos)
        for scanned in scan.blocks():
            for problem in scanned.problems[: max(0, max_report - len(shown))]:
                shown.append(problem.as_dict())
                if not as_json:
                    typer.echo(_line(problem, scanned.counted))
            progress.update(READING, scan.summary.rows)
    problems = sum(scan.summary.by_code.values())
    if as_json:
        left_out = problems - len(shown)
        typer.echo(json.dumps({**scan.summary.as_dict(), "problems": shown, "problems_left_out": left_out}, indent=2))
    else:
        if problems > len(shown):
            typer.echo(f"... and {problems - len(shown):,} more; see --max-report")
        _print_summary(scan.summary)
    if scan.summary.bad_rows:
        raise typer.Exit(ROWS_FAILED)


def plan(
    manifest: ManifestPath,
    shard_size: ShardSize = None,
    no_probe: NoProbe = False,
    models: ModelsName = None,
    profile: ProfilePath = None,
    measure: Measure = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show what a manifest will take: shards, portraits, sound, frames, GPU hours, disk. Writes nothing."""
    from manifests.manifest import open_manifest
    from manifests.media_files import MediaFileCheckConfig
    from manifests.run.manifest_file import SHARD_RECORDS
    from manifests.stats import Probes
    from manifests.summary import summarize_manifest

    measured = _measured_config(profile, models, measure=measure, config=config, settings=settings or [])
    rates = _rates(manifest, profile, measured)
    bundle = measured.animation.models if measured else models
    with _reading_progress(as_json) as progress:
        result = summarize_manifest(
            open_manifest(manifest),
            shard_size=shard_size or SHARD_RECORDS,
            files=None if no_probe else MediaFileCheckConfig(),
            probes=None if no_probe else Probes(audio=_seconds_of_sound),
            sizes=_sizes(bundle) if bundle else None,
            profile=rates,
            on_progress=lambda rows: progress.update(READING, rows),
        )
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=2))
    else:
        _print_survey(result)
    if result.summary.bad_rows:
        raise typer.Exit(ROWS_FAILED)


def _measured_config(
    profile: str | None, models: str | None, *, measure: bool, config: Path | None, settings: list[str]
) -> RunConfig | None:
    """Return the options of the run that --measure asks for."""
    if profile and measure:
        raise typer.BadParameter("expected --profile or --measure, not both", param_hint="--measure")
    if not measure:
        if config or settings:
            raise typer.BadParameter("options of generate mean nothing without --measure", param_hint="--set, --config")
        return None
    from pipelines.runs.config import RunConfig

    return merge_options(RunConfig, config=config, settings=settings, flags={"animation.models": models})


def _rates(manifest: str, profile: str | None, measured: RunConfig | None) -> RateProfile | None:
    """Return the rates of the profile, or measure them."""
    if measured:
        from pipelines.runs import rates

        return rates.measure(manifest, measured)
    if not profile:
        return None
    if profile.lower().endswith((".yaml", ".yml")):
        from manifests.estimate import read_profile

        return read_profile(profile)
    from pipelines.runs.rates import rates_of_bench, rates_of_run

    return rates_of_bench(profile) if profile.lower().endswith(".json") else rates_of_run(profile)


def _sizes(bundle: str) -> VideoSizes:
    """Return the sizes of a bundle's motion model; it is loaded for that, because checkpoints state them."""
    from joyvasa.models import AnimationConfig, Models
    from manifests.stats import VideoSizes

    models = Models(AnimationConfig(models=bundle, device="cpu"))
    plan = models.plan_speech(1)
    return VideoSizes(models.motion_model.sizes.frames_per_second, plan.frames_per_window, plan.first_frame)


def _seconds_of_sound(path: str) -> float:
    from joyvasa.media.audio import probe_audio

    return probe_audio(path).duration_s


def _reading_progress(as_json: bool) -> ProgressDisplay:
    """Build the progress display of a command that prints lines: nothing moves where those go to a file or program."""
    return ProgressDisplay(enabled=not as_json and sys.stdout.isatty())


def _line(problem: Problem, counted: str) -> str:
    return f"{problem.file}, {counted} {problem.row}: {problem.text} ({problem.code})"


def _print_summary(summary: ScanSummary) -> None:
    typer.echo(f"{summary.rows:,} rows, {summary.bad_rows:,} bad")
    if summary.modes.keys() - {"human"}:
        typer.echo(f"  good rows by mode: {', '.join(f'{n:,} {mode}' for mode, n in summary.modes.most_common())}")
    for code, count in summary.by_code.most_common():
        typer.echo(f"  {code}: {count:,}")
    for note in summary.notes:
        typer.echo(f"note: {note}")


def _print_survey(result: ManifestSummary) -> None:
    from manifests.estimate import NO_PROFILE

    _print_summary(result.summary)
    totals, sizes = result.totals, result.sizes
    figures: list[tuple[str, Any]] = [
        ("shards", f"{result.shards:,} of {result.shard_size:,} rows"),
        ("records", totals.records),
        ("distinct portraits", totals.portraits),
        ("distinct recordings", totals.recordings),
        ("distinct motion files", totals.motions),
        ("seconds of sound", totals.sound_s),
        (f"video frames ({sizes.frames_per_second}/s)", totals.frames),
        (f"windows ({sizes.frames_per_window} frames)", totals.windows),
    ]
    for name, value in figures:
        text = value if isinstance(value, str) else "not read" if value is None else f"{value:,.0f}"
        typer.echo(f"{name:22} {text}")
    for code, count in totals.probe_failures.items():
        typer.echo(f"unreadable media: {code}: {count:,}")
    for example in totals.probe_examples:
        typer.echo(f"  {example}")
    if not result.estimate:
        typer.echo(NO_PROFILE)
        return
    if result.estimate.machine:
        typer.echo(f"{'measured by':22} {result.estimate.machine}")
    _print_hours("GPU hours", result.estimate.gpu_hours)
    _print_hours("worker hours", result.estimate.worker_hours)
    disk = result.estimate.disk_bytes
    typer.echo(f"{'disk':22} {'not known' if disk is None else f'{disk / 1e9:,.2f} GB'}")


def _print_hours(title: str, by_stage: Mapping[str, float | None]) -> None:
    known = [hours for hours in by_stage.values() if hours is not None]
    total = f"{sum(known):,.2f}" if len(known) == len(by_stage) else "not known without lengths"
    typer.echo(f"{title:22} {total}")
    for stage, hours in by_stage.items():
        typer.echo(f"  {stage:20} {'?' if hours is None else f'{hours:,.2f}'}")
