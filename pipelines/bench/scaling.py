"""Throughput by batch size, by length of the sound, and by number of render workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.scratch import scratch_folder
from pipelines.bench.chain import build_pipeline, run_alone
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records
from pipelines.bench.timed_run import run_once
from pipelines.runs.resources import build_executor

MAX_CASE_S = 900.0  # a case that is expected to take longer, judging by the previous one, is skipped


@dataclass(frozen=True, kw_only=True)
class ScalingFigure:
    """Figures of one case."""

    over: str  # quantity that varies: `batch_size` of a stage, `sound_s` of one recording, `actors` of the render stage
    stage: str  # stage that ran alone; `chain` for the whole chain
    value: float  # value of that quantity
    skipped: str | None = None  # reason why the case was skipped; all fields below are None then
    # rate of the stage alone; for `sound_s`, one record over its whole time in the chain
    records_per_s: float | None = None
    ratio: float | None = None  # `records_per_s` divided by that of the first case of the same kind
    real_time_factor: float | None = None  # seconds of video generated per second
    peak_memory_bytes: int | None = None  # peak memory of the largest worker process


def measure_scaling(config: BenchConfig) -> tuple[ScalingFigure, ...]:
    """Measure all cases and relate each to the first one of its kind."""
    with scratch_folder() as folder:
        figures = [*_batch_sizes_and_actors(config, folder / "alone"), *_sound_lengths(config, folder / "lengths")]
    first = {}
    for figure in figures:
        if figure.records_per_s:
            first.setdefault((figure.over, figure.stage), figure.records_per_s)
    return tuple(
        dataclasses.replace(figure, ratio=figure.records_per_s / first[figure.over, figure.stage])
        if figure.records_per_s
        else figure
        for figure in figures
    )


def _batch_sizes_and_actors(config: BenchConfig, folder: Path) -> Iterator[ScalingFigure]:
    records = make_records(folder / "media", max(config.batches), config.sound_s)
    pipeline = build_pipeline(config.run, folder / "run")
    recording = folder / "recording"
    recording.mkdir()
    run_once(pipeline, records, build_executor(config.run, pipeline), folder / "first", recording=recording)

    cases = [
        ("batch_size", dataclasses.replace(pipeline.by_name[name], batch_size=size), size)
        for name in ("portrait", "speech", "motion", "render")
        for size in config.batches
    ]
    render = pipeline.by_name["render"]
    if config.run.executor != "local":
        for n_actors in config.actors:
            share = min(render.num_gpus, 1 / n_actors) if render.num_gpus else 0.0
            cases.append(("actors", dataclasses.replace(render, workers=n_actors, num_gpus=share), n_actors))

    for number, (over, spec, value) in enumerate(cases):
        run = run_alone(config.run, spec, records, recording, folder / f"log-{number}")
        rate = run.steady_records_per_s
        yield ScalingFigure(
            over=over,
            stage=spec.name,
            value=value,
            records_per_s=rate,
            real_time_factor=rate * config.sound_s,
            peak_memory_bytes=run.peak_bytes,
        )


def _sound_lengths(config: BenchConfig, folder: Path) -> Iterator[ScalingFigure]:
    s_per_sound_s = 0.0
    for number, sound_s in enumerate(config.sound_lengths_s):
        if s_per_sound_s * sound_s > MAX_CASE_S:
            reason = f"{s_per_sound_s * sound_s / 60:.0f} minutes expected, more than {MAX_CASE_S / 60:.0f}"
            yield ScalingFigure(over="sound_s", stage="chain", value=sound_s, skipped=reason)
            continue

        records = make_records(folder / f"media-{number}", 1, sound_s)
        pipeline = build_pipeline(config.run, folder / f"run-{number}")
        run = run_once(pipeline, records, build_executor(config.run, pipeline), folder / f"log-{number}")
        s_per_sound_s = run.elapsed_s / sound_s
        yield ScalingFigure(
            over="sound_s",
            stage="chain",
            value=sound_s,
            records_per_s=run.records_per_s,
            real_time_factor=1 / s_per_sound_s,
            peak_memory_bytes=run.peak_bytes,
        )
