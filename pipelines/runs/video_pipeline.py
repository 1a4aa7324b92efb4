"""The pipeline from rows to videos: identify -> portrait and speech -> motion -> render -> score -> commit.

Portrait and render have networks of their own for each mode (people, animals). They are separate stages with one
output, so that a worker loads the networks of one mode only; speech and motion serve both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from joyvasa.mode import Mode
from joyvasa.models import AnimationConfig
from pipelines.engine.graph import Facts, Pipeline, StageSpec
from pipelines.runs.config import RunConfig, StagesOptions
from pipelines.runs.metrics import score_stage
from pipelines.runs.resources import cores_of, renders_lightly, sized, stage_name
from stages.base import Record, Stage
from stages.commit import CommitConfig, CommitStage
from stages.config import StageConfig
from stages.identify import IdentifyConfig, IdentifyStage
from stages.motion import MotionConfig, MotionStage
from stages.portrait import PortraitStage
from stages.render import RenderConfig, RenderStage
from stages.speech import SpeechConfig, SpeechStage


def video_pipeline(config: RunConfig, run: str, modes: Sequence[Mode], *, gpus: int = 0) -> Pipeline:
    """The stages of a run, as they are configured.

    Args:
        config: every option.
        run: the run folder; an absolute path or URI.
        modes: that the manifest has: `human`, `animal`.
        gpus: to work on.
    """
    light = renders_lightly(config, modes)
    options = sized(config.stages, modes, gpus, cores=cores_of(config), light=light)
    common: dict[str, Any] = {"animation": animation_of(config, modes[0]), "determinism": config.determinism}
    motion = MotionConfig(**common, shared=config.share_motion, strict_batch=options.motion.batch_size)
    return Pipeline(
        (
            stage_spec("identify", IdentifyStage(IdentifyConfig()), options, share=_locations),
            *(_portrait(config, mode, options) for mode in modes),
            stage_spec("speech", SpeechStage(SpeechConfig(**common)), options, after=("identify",), share=_speech_key),
            stage_spec(
                "motion",
                MotionStage(motion),
                options,
                inputs=("speech", "identify") if config.share_motion else ("speech",),
                bucket=_windows,
                share=_motion_key if config.share_motion else None,
            ),
            *(_render(config, run, mode, options) for mode in modes),
            stage_spec(
                "score",
                score_stage(config, run, common["animation"]),
                options,
                inputs=("portrait", "motion", "render"),
                optional=True,  # no number is worth a video
            ),
            stage_spec("commit", CommitStage(CommitConfig(run=run)), options, inputs=("render",), after=("score",)),
        )
    )


def animation_of(config: RunConfig, mode: Mode) -> AnimationConfig:
    """The options of the method for rows of one mode."""
    return dataclasses.replace(config.animation, mode=mode)


def _portrait(config: RunConfig, mode: Mode, options: StagesOptions) -> StageSpec:
    stage = PortraitStage(StageConfig(animation=animation_of(config, mode), determinism=config.determinism))
    name = stage_name("portrait", mode)
    return stage_spec(
        name, stage, options, output="portrait", only=_of_mode(mode), after=("identify",), share=_portrait_key
    )


def _render(config: RunConfig, run: str, mode: Mode, options: StagesOptions) -> StageSpec:
    animation, determinism = animation_of(config, mode), config.determinism
    stage = RenderStage(
        RenderConfig(animation=animation, determinism=determinism, run=run, save_motion=config.save_motion)
    )
    name = stage_name("render", mode)
    return stage_spec(name, stage, options, output="render", only=_of_mode(mode), inputs=("portrait", "motion"))


def stage_spec(name: str, stage: Stage, options: StagesOptions, **how: Any) -> StageSpec:
    """A stage as its options want it; `how` are further fields of `StageSpec`."""
    own = getattr(options, name)
    return StageSpec(
        name=name,
        stage=stage,
        batch_size=own.batch_size,
        workers=own.workers,
        num_cpus=own.num_cpus,
        num_gpus=own.num_gpus,
        time_limit_s=own.time_limit_s,
        **how,
    )


def _of_mode(mode: Mode) -> Callable[[Record], bool]:
    return lambda record: record.row["mode"] == mode


def _locations(record: Record, _facts: Facts) -> Hashable:
    row = record.row
    return row["image"], row["audio"], row["motion"]


def _portrait_key(record: Record, facts: Facts) -> Hashable:
    return _content("image", record, facts), record.row["mode"]


def _speech_key(record: Record, facts: Facts) -> Hashable | None:
    row = record.row
    return (_content("audio", record, facts), row["motion"] is not None) if row["audio"] else None


def _motion_key(record: Record, facts: Facts) -> Hashable:
    row = record.row
    return _content("audio", record, facts), _content("motion", record, facts), row["cfg_scale"], row["seed"]


def _content(column: str, record: Record, facts: Facts) -> Hashable:
    """What the file of a column holds: its hash, or its location where it is too large to be read for that."""
    return facts["identify"][f"{column}_sha256"] or record.row[column]


def _windows(_record: Record, facts: Facts) -> Hashable:
    return facts["speech"]["windows"]
