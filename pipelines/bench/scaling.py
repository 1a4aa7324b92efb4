"""How the speed changes with the size of batches, the length of the sound and the number of actors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.bench.chain import build_pipeline, run_alone
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records
from pipelines.bench.passage import pass_through, scratch
from pipelines.runs.resources import build_executor

MOST_S = 900.0  # of one case; longer ones are left out, as far as the case before lets that be foreseen


@dataclass(frozen=True, kw_only=True)
class ScalingFigure:
    """One case.

    Attributes:
        over: what changes: `batch_size` of a stage, `sound_s` of one recording, `actors` of the render stage.
        stage: that ran alone; `chain` for all of them.
        value: of what changes.
        skipped: why there are no figures; all below is None then.
        records_per_s: of the stage alone; of the recording by its whole time in the chain.
        ratio: `records_per_s` over that of the first case of the same kind.
        real_time_factor: seconds of video made in a second.
        peak_memory_bytes: of the largest process of a worker.
    """

    over: str
    stage: str
    value: float
    skipped: str | None = None
    records_per_s: float | None = None
    ratio: float | None = None
    real_time_factor: float | None = None
    peak_memory_bytes: int | None = None


def measure_scaling(config: BenchConfig) -> tuple[ScalingFigure, ...]:
    """All three."""
    with scratch() as folder:
        figures = [*_batch_sizes_and_actors(config, folder / "alone"), *_lengths(config, folder / "lengths")]
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
    kept = folder / "kept"
    kept.mkdir()
    pass_through(pipeline, records, build_executor(config.run, pipeline), folder / "first", keep=kept)
    cases = [
        ("batch_size", dataclasses.replace(pipeline.by_name[name], batch_size=size), size)
        for name in ("portrait", "speech", "motion", "render")
        for size in config.batches
    ]
    render = pipeline.by_name["render"]
    if config.run.executor != "local":
        cases += [("actors", dataclasses.replace(render, workers=n, num_gpus=_share(render.num_gpus, n)), n)
                  for n in config.actors]  # fmt: skip
    for number, (over, spec, value) in enumerate(cases):
        passage = run_alone(config.run, spec, records, kept, folder / f"notes-{number}")
        rate = passage.steady_records_per_s
        yield ScalingFigure(
            over=over,
            stage=spec.name,
            value=value,
            records_per_s=rate,
            real_time_factor=rate * config.sound_s,
            peak_memory_bytes=passage.peak_bytes,
        )


def _share(num_gpus: float, n_actors: int) -> float:
    """Of a GPU for each of several actors, where there is one."""
    return min(num_gpus, 1 / n_actors) if num_gpus else 0.0


def _lengths(config: BenchConfig, folder: Path) -> Iterator[ScalingFigure]:
    per_second_s = 0.0  # of sound
    for number, sound_s in enumerate(config.sound_lengths_s):
        if per_second_s * sound_s > MOST_S:
            foreseen = f"{per_second_s * sound_s / 60:.0f} minutes foreseen, more than {MOST_S / 60:.0f}"
            yield ScalingFigure(over="sound_s", stage="chain", value=sound_s, skipped=foreseen)
            continue
        records = make_records(folder / f"media-{number}", 1, sound_s)
        pipeline = build_pipeline(config.run, folder / f"run-{number}")
        passage = pass_through(pipeline, records, build_executor(config.run, pipeline), folder / f"notes-{number}")
        per_second_s = passage.elapsed_s / sound_s
        yield ScalingFigure(
            over="sound_s",
            stage="chain",
            value=sound_s,
            records_per_s=passage.records_per_s,
            real_time_factor=1 / per_second_s,
            peak_memory_bytes=passage.peak_bytes,
        )
