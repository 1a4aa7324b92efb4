"""The pipeline from rows to videos.

hash_inputs -> portrait and speech -> motion -> render -> score -> verify_output

Portrait and render have networks of their own for each mode (people, animals). They are separate stages with one
output, so that a worker loads the networks of one mode only; speech and motion serve both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from joyvasa.mode import Mode
from joyvasa.models import AnimationConfig
from manifests.record import Record
from pipelines.engine.graph import Facts, Pipeline
from pipelines.runs.config import RunConfig
from pipelines.runs.metrics import score_stage
from pipelines.runs.resources import SpecBuilder, cores_of, renders_lightly
from stages.config import StageConfig
from stages.hash_inputs import HashInputsConfig, HashInputsStage
from stages.motion import MotionConfig, MotionStage
from stages.portrait import PortraitStage
from stages.render import RenderConfig, RenderStage
from stages.speech import SpeechConfig, SpeechStage
from stages.verify_output import VerifyOutputConfig, VerifyOutputStage


def video_pipeline(config: RunConfig, run: str, modes: Sequence[Mode], *, gpus: int = 0) -> Pipeline:
    """Build the stages of a run.

    Args:
        config: every option.
        run: run folder; an absolute path or URI.
        modes: modes of the rows: `human`, `animal`.
        gpus: number of GPUs to use.
    """
    builder = SpecBuilder(config.stages, gpus, cores_of(config), renders_lightly(config, modes))
    common: dict[str, Any] = {"animation": animation_of(config, modes[0]), "determinism": config.determinism}
    motion = MotionConfig(**common, shared=config.share_motion, strict_batch=builder.batch_size(MotionStage))
    motion_inputs = ("speech", "hash_inputs") if config.share_motion else ("speech",)
    motion_key = _motion_key if config.share_motion else None
    score = score_stage(config, run, common["animation"])

    specs = [builder.build(HashInputsStage(HashInputsConfig()), share=_locations)]
    for mode in modes:
        portrait = PortraitStage(StageConfig(animation=animation_of(config, mode), determinism=config.determinism))
        alternative: dict[str, Any] = {"modes": modes, "mode": mode, "only": _of_mode(mode)}
        specs.append(builder.build(portrait, after=("hash_inputs",), share=_portrait_key, **alternative))
    specs += [
        builder.build(SpeechStage(SpeechConfig(**common)), after=("hash_inputs",), share=_speech_key),
        builder.build(MotionStage(motion), inputs=motion_inputs, bucket=_windows, share=motion_key),
    ]
    for mode in modes:
        settings: dict[str, Any] = {"animation": animation_of(config, mode), "determinism": config.determinism}
        render = RenderStage(RenderConfig(**settings, run=run, save_motion=config.save_motion))
        alternative = {"modes": modes, "mode": mode, "only": _of_mode(mode)}
        specs.append(builder.build(render, inputs=("portrait", "motion"), **alternative))
    specs += [
        builder.build(score, inputs=("portrait", "motion", "render"), optional=True),  # no number is worth a video
        builder.build(VerifyOutputStage(VerifyOutputConfig(run=run)), inputs=("render",), after=("score",)),
    ]
    return builder.join(specs)


def animation_of(config: RunConfig, mode: Mode) -> AnimationConfig:
    """Return the options of the method for rows of one mode."""
    return dataclasses.replace(config.animation, mode=mode)


def _of_mode(mode: Mode) -> Callable[[Record], bool]:
    return lambda record: record.mode == mode


def _locations(record: Record, _facts: Facts) -> Hashable:
    return record.image, record.audio, record.motion


def _portrait_key(record: Record, facts: Facts) -> Hashable:
    return _content("image", record, facts), record.mode


def _speech_key(record: Record, facts: Facts) -> Hashable | None:
    return (_content("audio", record, facts), record.motion is not None) if record.audio else None


def _motion_key(record: Record, facts: Facts) -> Hashable:
    contents = (_content(column, record, facts) for column in ("audio", "motion"))
    return (*contents, record.cfg_scale, record.given_seed)


def _content(column: str, record: Record, facts: Facts) -> Hashable:
    """What the file of a column holds: its hash, or its location where it is too large to be read for that."""
    return facts["hash_inputs"][f"{column}_sha256"] or getattr(record, column)


def _windows(_record: Record, facts: Facts) -> Hashable:
    return facts["speech"]["windows"]
