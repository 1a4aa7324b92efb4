"""The pipeline from rows to videos: portrait and speech -> motion -> render -> score -> commit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from joyvasa.bundles import Bundle
from joyvasa.models import DETECTOR_ROLES
from manifests.outcome import Outcome
from pipelines.graph import Facts, Pipeline, StageSpec
from pipelines.run_config import RunConfig, StageOptions
from pipelines.sizing import sized
from pipelines.works import Finished
from stages.base import Record, Stage
from stages.commit import CommitConfig, CommitStage
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionStage
from stages.portrait import PortraitStage
from stages.render import RenderConfig, RenderStage
from stages.score import ScoreConfig, ScoreStage
from stages.speech import SpeechConfig, SpeechStage

METRIC = "metric."  # begins the name of a fact with a metric


def video_pipeline(config: RunConfig, run: str, *, gpus: int = 0) -> Pipeline:
    """The stages of a run, as they are configured.

    Args:
        config: every option.
        run: the run folder; an absolute path or URI.
        gpus: to work on.
    """
    animation, determinism = config.animation, config.determinism
    options = sized(config.stages, gpus)
    portrait = PortraitStage(StageConfig(animation=animation, determinism=determinism))
    speech = SpeechStage(SpeechConfig(animation=animation, determinism=determinism))
    motion = MotionStage(
        MotionConfig(animation=animation, determinism=determinism, strict_batch=options.motion.batch_size)
    )
    render = RenderStage(
        RenderConfig(animation=animation, determinism=determinism, run=run, save_motion=config.save_motion)
    )
    return Pipeline(
        (
            _spec("portrait", portrait, options.portrait, share=_portrait_key),
            _spec("speech", speech, options.speech, share=_speech_key),
            _spec(
                "motion",
                motion,
                options.motion,
                inputs=("speech",),
                bucket=_windows,
                share=_motion_key if config.share_motion else None,
            ),
            _spec("render", render, options.render, inputs=("portrait", "motion")),
            _spec("score", ScoreStage(ScoreConfig(run=run)), options.score, inputs=("render",)),
            _spec("commit", CommitStage(CommitConfig(run=run)), options.commit, inputs=("render", "score")),
        )
    )


def roles(config: RunConfig, bundle: Bundle) -> tuple[str, ...]:
    """Roles of the bundle that a run needs."""
    wanted = config.animation.face.detector
    detector = bundle.switches.detector if wanted == "bundle" else wanted
    return (*config.animation.roles, *DETECTOR_ROLES.get(detector, ()))


def outcome_of(finished: Finished, *, bundle: str, licences: tuple[str, ...]) -> Outcome:
    """The outcome row of a record that has left the pipeline.

    Args:
        finished: as the engine gives it.
        bundle: name and fingerprint of the models.
        licences: of the weights that were used.
    """
    rejection = finished.rejection
    made: dict[str, Any] = {} if rejection else dict(finished.facts["render"])
    scores: dict[str, Any] = dict(finished.facts.get("score", {}))
    return Outcome(
        record_id=finished.record.id,
        status=finished.status.value,
        stage=rejection.stage if rejection else "commit",
        error_code=rejection.code if rejection else None,
        error=rejection.sentence if rejection else None,
        attempts=finished.attempts,
        seconds=finished.seconds,
        frames=made.get("frames"),
        duration_s=made.get("duration_s"),
        seed=finished.record.seed,
        video=made.get("video"),
        sha256=made.get("sha256"),
        motion_file=made.get("motion_file"),
        bundle=bundle,
        licences=licences,
        metrics={
            name.removeprefix(METRIC): value
            for name, value in scores.items()
            if name.startswith(METRIC) and not name.endswith(".reason")
        },
    )


def _spec(
    name: str,
    stage: Stage,
    options: StageOptions,
    *,
    inputs: tuple[str, ...] = (),
    share: Callable[[Record], Hashable | None] | None = None,
    bucket: Callable[[Record, Facts], Hashable] | None = None,
) -> StageSpec:
    return StageSpec(
        name=name,
        stage=stage,
        inputs=inputs,
        share=share,
        bucket=bucket,
        batch_size=options.batch_size,
        workers=1 if options.workers is None else options.workers,
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus or 0.0,
        time_limit_s=options.time_limit_s,
    )


def _portrait_key(record: Record) -> Hashable:
    return record.row["image"], record.row["mode"]


def _speech_key(record: Record) -> Hashable | None:
    audio = record.row["audio"]
    return (audio, record.row["motion"] is not None) if audio else None


def _motion_key(record: Record) -> Hashable:
    row = record.row
    return row["audio"], row["motion"], row["cfg_scale"], record.seed


def _windows(record: Record, facts: Facts) -> Hashable:
    return facts["speech"]["windows"]
