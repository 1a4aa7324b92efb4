"""`joyvasa validate` and `joyvasa plan`: check and summarize a manifest before a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from joyvasa.errors import InputError
from pipelines.cli import ROWS_FAILED
from pipelines.cli.options import AsJson, ManifestPath, local_path, merge_options, print_json
from pipelines.cli.progress import ProgressDisplay, run_progress

if TYPE_CHECKING:
    from manifests.estimate import ManifestSummary, RateProfile
    from manifests.option_columns import OptionColumns
    from manifests.problems import ScanSummary
    from manifests.stats import ManifestStats, Probes, VideoSizes
    from pipelines.runs.config import RunConfig

READING = "rows read"  # title of the progress bar
PLAN_SETTING = re.compile(r"tts(_voice)?=|animation\.")  # settings that change checks and a plan without a measurement
PROBE_RATE, PROBE_SIZE = 25, (16, 16)  # frames per second and pixels at which driving videos are counted
TIME_UNITS = {"h": 1, "min": 60, "s": 3600, "ms": 3_600_000}
DISK_UNITS = {"GB": 1, "MB": 1e3, "kB": 1e6, "B": 1e9}

MaxReport = Annotated[
    int, typer.Option("--max-report", min=0, help="Maximum number of problems to print; all are counted.")
]
Files = Annotated[bool, typer.Option("--files/--no-files", help="Check that local files exist.")]
Videos = Annotated[bool, typer.Option("--videos", help="Check a manifest of finished videos, for evaluate or prepare.")]
Remote = Annotated[bool, typer.Option("--remote", help="Also check that URIs exist.")]
ShardSize = Annotated[int | None, typer.Option("--shard-size", min=1, help="Rows per shard (default: 256).")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Do not open media files; their lengths are not counted.")]
ProfilePath = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="FILE|RUN", help="Measured rates: YAML file, JSON file of `joyvasa bench`, or run folder."
    ),
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the rates on this machine, by generating videos for a few rows.")
]
PlannedModels = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="BUNDLE",
        help="Model bundle that sets frame rate and window size, and must be able to apply the options of all rows "
        "(default: that of the run of --profile, or sample).",
    ),
]
CheckedModels = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="BUNDLE",
        help="Model bundle that must be able to apply the options of all rows (default: sample).",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file with options of `joyvasa generate`; only with --measure.", parser=local_path
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Set an option of `joyvasa generate`; without --measure, tts, tts_voice or one of animation.*.",
        metavar="KEY=VALUE",
    ),
]
CheckSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Set tts, tts_voice or one of animation.*, as for `joyvasa generate`.", metavar="KEY=VALUE"
    ),
]


def validate_command(
    manifest: ManifestPath,
    files: Files = True,
    remote: Remote = False,
    videos: Videos = False,
    models: CheckedModels = None,
    settings: CheckSettings = None,
    max_report: MaxReport = 20,
    as_json: AsJson = False,
) -> None:
    """Check all rows of a manifest and report problems. Exits with 3 if there are any."""
    from manifests.manifest import open_manifest
    from manifests.media_files import MediaFileCheck
    from manifests.scan import Scan

    if not all(PLAN_SETTING.match(setting) for setting in settings or []):
        raise typer.BadParameter("expected tts, tts_voice or one of animation.*", param_hint="--set")
    run_config = _plan_config(models, config=None, settings=settings) if settings else None
    shown: list[dict[str, Any]] = []
    with ProgressDisplay(enabled=not as_json) as progress, MediaFileCheck(remote=remote) as check:
        scan = Scan(
            open_manifest(manifest),
            files=check if files else None,
            videos=videos,
            options=None if videos else _option_columns(models, run_config),
            voices=run_config.voices if run_config else None,
        )
        for scanned in scan.blocks(extra=True):  # as a run reads it
            for problem in scanned.problems[: max(0, max_report - len(shown))]:
                shown.append(asdict(problem))
                if not as_json:
                    typer.echo(f"{problem.place}: {problem.text} ({problem.code})")
            progress.update(READING, scan.summary.rows)
    problems = sum(scan.summary.by_code.values())
    if as_json:
        left_out = problems - len(shown)
        print_json({**scan.summary.as_dict(), "problems": shown, "problems_left_out": left_out})
    else:
        if problems > len(shown):
            typer.echo(f"... and {problems - len(shown):,} more; see --max-report")
        _print_summary(scan.summary)
    if scan.summary.bad_rows:
        raise typer.Exit(ROWS_FAILED)


def plan_command(
    manifest: ManifestPath,
    shard_size: ShardSize = None,
    no_probe: NoProbe = False,
    models: PlannedModels = None,
    profile: ProfilePath = None,
    measure: Measure = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the size and cost of a run: shards, portraits, sound, frames, GPU hours, disk space."""
    from manifests.estimate import summarize_manifest
    from manifests.manifest import open_manifest
    from manifests.run.manifest_file import SHARD_RECORDS

    if profile is not None and measure:
        raise typer.BadParameter("expected --profile or --measure, not both", param_hint="--measure")
    if not measure and (config or not all(PLAN_SETTING.match(setting) for setting in settings or [])):
        hint = "--set, --config"
        raise typer.BadParameter(
            "only allowed with --measure, except for tts, tts_voice and animation.*", param_hint=hint
        )
    run_config = _plan_config(models, config=config, settings=settings or []) if measure or settings else None
    rates = _get_rates(manifest, profile, run_config if measure else None)
    if models is None:
        models = run_config.animation.models if run_config else rates.models if rates else None
    probes = None if no_probe else build_probes(models)
    with ProgressDisplay(enabled=not as_json) as progress:
        result = summarize_manifest(
            open_manifest(manifest),
            shard_size=shard_size or SHARD_RECORDS,
            files=not no_probe,
            probes=probes,
            profile=rates,
            options=_option_columns(models, run_config),
            voices=run_config.voices if run_config else None,
            on_progress=lambda rows: progress.update(READING, rows),
        )

    if as_json:
        print_json(result.as_dict())
    else:
        print_plan(result)
    if result.scan.bad_rows:
        raise typer.Exit(ROWS_FAILED)


def _option_columns(models: str | None, run_config: RunConfig | None = None) -> OptionColumns:
    """Return the columns that set options, with the defaults of the configuration of a run.

    Args:
        models: name or folder of the bundle that must be able to apply them; None for the default one.
        run_config: options of the run; None for the defaults.
    """
    from joyvasa.bundles import open_bundle
    from joyvasa.options import AnimationConfig
    from pipelines.runs.config import build_option_columns

    animation = run_config.animation if run_config else AnimationConfig()
    return build_option_columns(animation, open_bundle(animation.models if models is None else models))


def _plan_config(models: str | None, *, config: Path | None, settings: list[str]) -> RunConfig:
    """Return the options of the planned run."""
    from pipelines.runs.config import RunConfig

    run_config = merge_options(RunConfig, config=config, settings=settings, flags={"animation.models": models})
    if run_config.where or run_config.limit:
        raise typer.BadParameter(
            "a plan counts all rows; expected no `where` and no `limit`: use joyvasa generate --dry-run",
            param_hint="--set, --config",
        )
    return run_config


def _get_rates(manifest: str, profile: str | None, run_config: RunConfig | None) -> RateProfile | None:
    """Return the rates of the profile, or measure them."""
    if run_config:
        from pipelines.runs.rates import measure_rates

        with run_progress() as on_event:
            return measure_rates(manifest, run_config, on_event=on_event)
    if profile is None:
        return None
    if profile.lower().endswith((".yaml", ".yml")):
        from manifests.estimate import read_profile

        return read_profile(profile)
    from pipelines.runs.rates import read_bench_rates, read_run_rates

    return read_bench_rates(profile) if profile.lower().endswith(".json") else read_run_rates(profile)


def build_probes(bundle: str | None) -> Probes:
    """Return the functions that measure the length of media.

    Args:
        bundle: name or folder of the bundle whose videos are planned; None for the default one.
    """
    from manifests.stats import Probes

    return Probes(read_sizes(bundle), audio=probe_duration, motion=probe_motion)


def read_sizes(bundle: str | None) -> VideoSizes:
    """Return the sizes of a bundle's motion model, which is loaded because only its checkpoint states them.

    Args:
        bundle: name or folder of the bundle; None for the default one.
    """
    from joyvasa.models import Models
    from joyvasa.options import AnimationConfig
    from manifests.stats import VideoSizes

    config = AnimationConfig(device="cpu")
    models = Models(replace(config, models=bundle) if bundle else config)
    plan = models.plan_speech(1)
    return VideoSizes(models.motion_model.sizes.frames_per_second, plan.frames_per_window, plan.first_frame)


def probe_duration(location: str) -> float:
    """Return the duration of a recording in seconds.

    Raises:
        InputError: the recording cannot be read, or `not_fetched` if it is at a URI, or in an archive or table there.
    """
    from joyvasa.media.audio import probe_audio

    with _fetched(location) as path:
        return probe_audio(path).duration_s


def probe_motion(location: str) -> float:
    """Return the duration of a motion file or a driving video in seconds.

    Raises:
        InputError: see `probe_duration`.
    """
    from joyvasa.media.video_reader import stream_video
    from joyvasa.motion.file import is_motion_file, load_motion

    with _fetched(location) as path:
        if is_motion_file(path):
            motion = load_motion(path).motion
            return len(motion.expression) / motion.frames_per_second
        frames = stream_video(path, frames_per_second=PROBE_RATE, size=PROBE_SIZE)
        return sum(map(len, frames)) / PROBE_RATE


@contextmanager
def _fetched(location: str) -> Iterator[Path]:
    """Provide a file that is local, or in a local archive or table."""
    from joyvasa.runtime.locations import is_remote
    from manifests.stats import NOT_FETCHED
    from stages.media import local_file
    from stages.media_cache import MediaCacheConfig

    if is_remote(location.rpartition("::")[2]):
        problem = "media at URIs are not fetched to measure their length; expected local files"
        raise InputError(NOT_FETCHED, f"{location}: {problem}: estimate from some rows that were copied")
    with local_file(location, MediaCacheConfig(f"plan {os.getpid()}")) as path:
        yield path


def _print_summary(summary: ScanSummary) -> None:
    typer.echo(f"{summary.rows:,} rows, {summary.bad_rows:,} bad")
    if summary.modes.keys() - {"human"}:
        typer.echo(f"  good rows by mode: {', '.join(f'{n:,} {mode}' for mode, n in summary.modes.most_common())}")
    for code, count in summary.by_code.most_common():
        typer.echo(f"  {code}: {count:,}")
    for note in summary.notes:
        typer.echo(f"note: {note}")


def print_plan(result: ManifestSummary) -> None:
    """Print the counts of a manifest and the estimated cost of its run."""
    from manifests.estimate import NO_PROFILE

    _print_summary(result.scan)
    totals, sizes = result.stats, result.sizes
    figures: list[tuple[str, Any]] = [
        ("shards", f"{result.shards:,} of {result.shard_size:,} rows"),
        ("records", totals.records),
        ("distinct portraits", totals.portraits),
        ("distinct recordings", totals.recordings),
        ("distinct motion files", totals.motions),
        *([("texts to speak", _describe_texts(totals))] if totals.texts else []),
        ("seconds of sound", totals.sound_s),
        (f"video frames ({sizes.frames_per_second}/s)" if sizes else "video frames", totals.frames),
        (f"windows ({sizes.frames_per_window} frames)" if sizes else "windows", totals.windows),
    ]
    missing = "unknown" if sizes else "not read"
    for name, value in figures:
        text = value if isinstance(value, str) else missing if value is None else f"{value:,.0f}"
        typer.echo(f"{name:22} {text}")
    if totals.not_fetched and totals.frames is not None:
        media = "recordings or motion files" if totals.motions else "recordings"
        typer.echo(
            f"note: {totals.not_fetched:,} {media} at URIs are counted with the mean length of those that were read"
        )

    for code, count in totals.probe_failures.items():
        typer.echo(f"unreadable media: {code}: {count:,}")
    for example in totals.probe_examples:
        typer.echo(f"  {example}")

    if not result.estimate:
        typer.echo(NO_PROFILE)
        return
    if result.estimate.machine:
        typer.echo(f"{'measured by':22} {result.estimate.machine}")
    _print_hours("GPU time", result.estimate.gpu_hours)
    _print_hours("worker time", result.estimate.worker_hours)
    disk = result.estimate.disk_bytes
    typer.echo(f"{'disk':22} {'unknown' if disk is None else _format_amount(disk / 1e9, DISK_UNITS)}")


def _describe_texts(totals: ManifestStats) -> str:
    if totals.text_s is None:
        return f"{totals.texts:,}"
    return f"{totals.texts:,}, about {totals.text_s:,.0f} s by their characters"


def _print_hours(title: str, by_stage: Mapping[str, float | None]) -> None:
    """Print the hours of all stages together and of each stage that needs some."""
    estimates = list(by_stage.values())
    known = sum(filter(None, estimates))
    typer.echo(f"{title:22} {'unknown without lengths' if None in estimates else _format_amount(known, TIME_UNITS)}")
    for stage, hours in by_stage.items():
        if hours != 0:
            typer.echo(f"  {stage:20} {'?' if hours is None else _format_amount(hours, TIME_UNITS)}")


def _format_amount(amount: float, units: Mapping[str, float]) -> str:
    """Format an amount in the largest unit of which there is at least one, so that small ones do not become 0.00.

    Args:
        amount: amount in the first unit.
        units: how many of each unit make one of the first, in increasing order.
    """
    if not amount:
        return "0"
    unit = next((name for name, size in units.items() if amount * size >= 1), [*units][-1])
    return f"{amount * units[unit]:,.2f} {unit}"
