"""Throughput of each stage alone and of the whole chain, and how much of the slowest stage's rate the chain reaches."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.record import Record
from manifests.scratch import scratch_folder
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records
from pipelines.bench.timed_run import REPEAT_MARK, ReplayStage, TimedRun, run_once
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.runs.config import RunConfig
from pipelines.runs.generate import build_video_pipeline
from pipelines.runs.resources import build_executor, count_run_gpus

ALONE_BATCHES = 3  # full batches per worker of a stage that runs alone; the first one is not counted


@dataclass(frozen=True, kw_only=True)
class StageFigure:
    """Figures of one stage."""

    stage: str  # name of the stage
    # workers, batch_size: number of workers and batch size, as in the chain
    workers: int
    batch_size: int
    records_per_s: float  # rate of the stage alone, with full batches; the first batch is not counted
    setup_s: float  # time of a worker to load its models, in the chain
    # first_batch_s, later_batch_s: time of a worker's first batch and median of its later ones in the chain; None if
    # there was only one batch
    first_batch_s: float
    later_batch_s: float | None
    busy_s: float  # busy time of all workers in the chain
    share_of_busy: float  # `busy_s` divided by the busy time of all stages
    batch_fill: float  # mean number of records per batch in the chain divided by the batch size, 0 to 1
    # peak memory of the largest worker process; of all stages together with `executor=local`
    peak_memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ChainFigure:
    """Figures of the whole chain, run as `joyvasa generate` runs it, including metrics."""

    # records, frames: number of records and of frames of their videos
    records: int
    frames: int
    sound_s: float  # seconds of sound of each record
    elapsed_s: float  # time from ready workers to the last record
    records_per_s: float  # rate after the first finished batch, so that filling the pipeline is not counted
    frames_per_s: float  # `records_per_s * frames / records`
    real_time_factor: float  # seconds of video generated per second, `frames_per_s` divided by the video's frame rate
    slowest_stage: str  # stage with the lowest `records_per_s` alone
    efficiency: float  # `records_per_s` divided by that of the slowest stage alone


@dataclass(frozen=True)
class ChainSection:
    """The stages and the chain that they form."""

    stages: tuple[StageFigure, ...]  # figures of the stages, in the order of the chain
    chain: ChainFigure  # figures of the whole chain
    # engine statistics of that run, `RunStatistics.as_dict`; `joyvasa plan --profile` uses them
    statistics: dict[str, Any]


def build_pipeline(config: RunConfig, run: Path) -> Pipeline:
    """Return the pipeline of a run over any number of pictures of people."""
    return build_video_pipeline(config, str(run), {"human": sys.maxsize}, gpus=count_run_gpus(config))


def measure_chain(config: BenchConfig) -> ChainSection:
    """Run the chain to record the inputs of each stage, then each stage alone on these inputs, then the chain again.

    The two rates that the efficiency compares are thus measured close together in time.
    """
    with scratch_folder() as folder:
        records = make_records(folder / "media", config.chain_records, config.sound_s)
        pipeline = build_pipeline(config.run, folder / "run")
        recording = folder / "recording"
        recording.mkdir()

        # The first run also warms up the machine; its figures are not used.
        n_recorded = min(len(records), max(spec.batch_size for spec in pipeline.stages))
        recorded = records[:n_recorded]
        run_once(pipeline, recorded, build_executor(config.run, pipeline), folder / "first", recording=recording)
        alone = {
            spec.name: run_alone(config.run, spec, recorded, recording, folder / f"alone-{spec.name}")
            for spec in pipeline.order
        }

        chain = run_once(pipeline, records, build_executor(config.run, pipeline), folder / "chain")
        rates = {name: run.steady_records_per_s for name, run in alone.items()}
        stages = _stage_figures(pipeline, rates, chain)
        return ChainSection(stages, _chain_figure(config, rates, chain), chain.statistics.as_dict())


def run_alone(config: RunConfig, spec: StageSpec, records: Sequence[Record], recording: Path, folder: Path) -> TimedRun:
    """Run one stage without the others, on recorded inputs; `folder` is a new one for the log of the workers."""
    replay = dataclasses.replace(
        spec,
        stage=ReplayStage(spec.stage, spec.name, recording),
        output="",
        only=None,
        inputs=(),
        after=(),
        share=None,
        bucket=None,
        optional=False,
    )
    pipeline = Pipeline((replay,))
    executor = build_executor(config, pipeline)

    repeated = []
    for number in range(ALONE_BATCHES * spec.batch_size * executor.count_workers(replay)):
        record = records[number % len(records)]
        # Each repetition of the render stage writes a video of its own.
        name = f"{record.id}{REPEAT_MARK}{number}" if spec.output == "render" else record.id
        repeated.append(dataclasses.replace(record, id=name))
    return run_once(pipeline, repeated, executor, folder)


def _stage_figures(pipeline: Pipeline, rates: dict[str, float], chain: TimedRun) -> tuple[StageFigure, ...]:
    all_busy_s = sum(stage.busy_s for stage in chain.statistics.stages.values())
    figures = []
    for spec in pipeline.order:
        statistic = chain.statistics.stages[spec.name]
        workers = chain.log.entries(spec.name)
        batches = [entries[1:] for entries in workers if len(entries) > 1]
        later = [batch["seconds"] for worker in batches for batch in worker[1:]]
        peaks = [batch["peak_bytes"] for worker in batches for batch in worker if batch["peak_bytes"]]

        figures.append(
            StageFigure(
                stage=spec.name,
                workers=len(workers),
                batch_size=spec.batch_size,
                records_per_s=rates[spec.name],
                setup_s=max(entries[0]["setup_s"] for entries in workers),
                first_batch_s=max(worker[0]["seconds"] for worker in batches),
                later_batch_s=statistics.median(later) if later else None,
                busy_s=statistic.busy_s,
                share_of_busy=statistic.busy_s / all_busy_s,
                batch_fill=statistic.batch_fill,
                peak_memory_bytes=max(peaks, default=None),
            )
        )
    return tuple(figures)


def _chain_figure(config: BenchConfig, rates: dict[str, float], chain: TimedRun) -> ChainFigure:
    slowest = min(rates, key=lambda name: rates[name])
    rate = chain.steady_records_per_s
    return ChainFigure(
        records=len(chain.finished_at),
        frames=chain.frames,
        sound_s=config.sound_s,
        elapsed_s=chain.elapsed_s,
        records_per_s=rate,
        frames_per_s=rate * chain.frames_per_record,
        real_time_factor=rate * config.sound_s,
        slowest_stage=slowest,
        efficiency=rate / rates[slowest],
    )
