"""The stages, each alone and all together: what of the speed of the slowest one arrives at the end."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.record import Record
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records
from pipelines.bench.observed import AGAIN, FedStage
from pipelines.bench.passage import Passage, pass_through, scratch
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.runs.config import RunConfig
from pipelines.runs.resources import build_executor, count_gpus
from pipelines.runs.video_pipeline import video_pipeline

ALONE_BATCHES = 3  # full ones for each worker of a stage that runs alone; the first one is not counted


@dataclass(frozen=True, kw_only=True)
class StageFigure:
    """One stage.

    Attributes:
        stage: its name.
        workers, batch_size: as in the chain.
        records_per_s: alone, with full batches, its first batch not counted.
        setup_s: until a worker has loaded its models, in the chain.
        first_batch_s, later_batch_s: of a worker in the chain, the later ones as median; None if there was no other.
        busy_s: in the chain, of all workers.
        share_of_busy: of `busy_s` in that of all stages.
        batch_fill: how full its batches were in the chain, 0 to 1.
        peak_memory_bytes: largest of a worker's process; of all stages together with `executor=local`.
    """

    stage: str
    workers: int
    batch_size: int
    records_per_s: float
    setup_s: float
    first_batch_s: float
    later_batch_s: float | None
    busy_s: float
    share_of_busy: float
    batch_fill: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ChainFigure:
    """The whole chain, as `joyvasa generate` runs it, metrics included.

    Attributes:
        records, frames: that were made.
        sound_s: seconds of sound of each record.
        elapsed_s: from warm workers to the last record.
        records_per_s: from the first finished records on, so that the filling of the stages is not counted.
        frames_per_s: `records_per_s * frames / records`.
        real_time_factor: seconds of video made in a second, `frames_per_s` over that of the video.
        slowest_stage: the one with the least `records_per_s` alone.
        efficiency: `records_per_s` over that of the slowest stage alone.
    """

    records: int
    frames: int
    sound_s: float
    elapsed_s: float
    records_per_s: float
    frames_per_s: float
    real_time_factor: float
    slowest_stage: str
    efficiency: float


@dataclass(frozen=True)
class ChainSection:
    """The stages, and the chain that they form.

    Attributes:
        stages: in the order of the chain.
        chain: all of them at work.
        statistics: of the engine for that run, `RunStatistics.as_dict`; `joyvasa plan --profile` reckons with them.
    """

    stages: tuple[StageFigure, ...]
    chain: ChainFigure
    statistics: dict[str, Any]


def build_pipeline(config: RunConfig, run: Path) -> Pipeline:
    """The stages of a run over pictures of people."""
    return video_pipeline(config, str(run), ("human",), gpus=count_gpus(config))


def measure_chain(config: BenchConfig) -> ChainSection:
    """Runs the chain once to keep what each stage gets, then each stage alone with that, then the chain again.

    So the two sides of the efficiency lie close together in time.
    """
    with scratch() as folder:
        records = make_records(folder / "media", config.chain_records, config.sound_s)
        pipeline = build_pipeline(config.run, folder / "run")
        kept = folder / "kept"
        kept.mkdir()
        # The first run warms up the machine; its figures are not used.
        n_kept = min(len(records), max(spec.batch_size for spec in pipeline.stages))
        pass_through(pipeline, records[:n_kept], build_executor(config.run, pipeline), folder / "first", keep=kept)
        alone = {
            spec.name: run_alone(config.run, spec, records[:n_kept], kept, folder / f"alone-{spec.name}")
            for spec in pipeline.order
        }
        together = pass_through(pipeline, records, build_executor(config.run, pipeline), folder / "chain")
        rates = {name: passage.steady_records_per_s for name, passage in alone.items()}
        stages, chain = _stage_figures(pipeline, rates, together), _chain_figure(config, rates, together)
        return ChainSection(stages, chain, together.statistics.as_dict())


def run_alone(config: RunConfig, spec: StageSpec, records: Sequence[Record], kept: Path, folder: Path) -> Passage:
    """One stage without the others, with what it got before.

    Args:
        config: of the run.
        spec: of the stage.
        records: whose inputs were kept.
        kept: where.
        folder: for notes; made.
    """
    fed = dataclasses.replace(
        spec,
        stage=FedStage(spec.stage, spec.name, kept),
        output="",
        only=None,
        inputs=(),
        after=(),
        share=None,
        bucket=None,
        optional=False,
    )
    pipeline = Pipeline((fed,))
    executor = build_executor(config, pipeline)
    n_records = ALONE_BATCHES * spec.batch_size * executor.workers_of(fed)
    repeated = []
    for number in range(n_records):
        record = records[number % len(records)]
        again = f"{record.id}{AGAIN}{number}" if spec.output == "render" else record.id  # a video of its own
        repeated.append(dataclasses.replace(record, id=again))
    return pass_through(pipeline, repeated, executor, folder)


def _stage_figures(pipeline: Pipeline, rates: dict[str, float], together: Passage) -> tuple[StageFigure, ...]:
    all_busy_s = sum(stage.busy_s for stage in together.statistics.stages.values())
    figures = []
    for spec in pipeline.order:
        counted = together.statistics.stages[spec.name]
        workers = together.watch.entries(spec.name)
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
                busy_s=counted.busy_s,
                share_of_busy=counted.busy_s / all_busy_s,
                batch_fill=counted.batch_fill,
                peak_memory_bytes=max(peaks, default=None),
            )
        )
    return tuple(figures)


def _chain_figure(config: BenchConfig, rates: dict[str, float], together: Passage) -> ChainFigure:
    slowest = min(rates, key=lambda name: rates[name])
    n_records, rate = len(together.finished_at), together.steady_records_per_s
    frames_per_s = rate * together.frames_per_record
    return ChainFigure(
        records=n_records,
        frames=together.frames,
        sound_s=config.sound_s,
        elapsed_s=together.elapsed_s,
        records_per_s=rate,
        frames_per_s=frames_per_s,
        real_time_factor=rate * config.sound_s,
        slowest_stage=slowest,
        efficiency=rate / rates[slowest],
    )
