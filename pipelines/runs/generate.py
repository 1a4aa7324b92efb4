"""Generate a video for each row of a manifest.

The video pipeline is: hash_inputs -> portrait and speech -> motion -> render -> score -> verify_output

If rows have motion files or driving videos, `read_motion` runs before `motion`. With a speech synthesizer, the stage
`speak` comes first.

Portrait and render have different networks for each mode (people, animals). These are separate stages with one
output, so that a worker loads the networks of one mode only; speech and motion serve both.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from joyvasa.bundles import open_bundle
from joyvasa.bundles.requirements import MOTION_ROLES, find_detector_bundle, list_required_roles, require_models
from joyvasa.mode import Mode
from manifests.record import Record
from manifests.run.description import ManifestSource, RunKind
from manifests.run.folder import RunFolder
from manifests.run.outcome import RecordOutcome
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.engine.graph import Facts, Pipeline
from pipelines.engine.tasks import FinishedRecord
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import RunDefinition, RunResult, start_run
from pipelines.runs.outcomes import (
    ModeWeights,
    OutcomeBuilder,
    build_outcome,
    build_score_stage,
    hash_metric_weights,
    metric_columns,
)
from pipelines.runs.resources import SpecBuilder, count_rendering_cores, has_light_renderer
from stages.config import StageConfig
from stages.hash_inputs import HashInputsStage
from stages.motion import MotionConfig, MotionStage
from stages.portrait import PortraitStage
from stages.read_motion import ReadMotionStage
from stages.record_options import select_options
from stages.render import RenderConfig, RenderStage
from stages.speak import SpeakConfig, SpeakStage
from stages.speech import SpeechStage
from stages.verify_output import VerifyOutputStage


def generate_videos(
    manifest: str | Path, out: str | Path, config: RunConfig | None = None, *, on_event: EventCallback | None = None
) -> RunResult:
    """Generate a video for each row of a manifest.

    Args:
        manifest: Parquet, CSV or JSON Lines file, or a folder of these; a path or URI.
        out: run folder, which must not contain a run yet; a path or URI.
        config: options of the run.
        on_event: callback for every event.

    Raises:
        ManifestError: bad rows (`manifest_rows`), `run_exists`, `run_changed`, `run_locked`, `output_unwritable`.
        JoyvasaError: missing models, or the run stopped.
    """
    config = (config or RunConfig()).with_absolute_paths()
    # All modes need these roles: fail before reading many rows.
    open_bundle(config.animation.models).require_roles(MOTION_ROLES)
    return start_run(GenerateRun(), RunFolder(open_storage(str(out))), manifest, config, on_event=on_event)


class GenerateRun(RunDefinition):
    """Generate videos from portraits and sound."""

    kind: ClassVar[RunKind] = "generate"
    reads_videos: ClassVar[bool] = False

    def hash_weights(self, config: RunConfig, modes: Collection[Mode]) -> dict[str, Any]:
        """Hash the weights used in these modes and those of the metrics."""
        bundle = open_bundle(config.animation.models)
        roles: set[str] = set()
        detectors: dict[str, str] = {}
        for mode in modes:
            animation = config.animation.for_mode(mode)
            require_models(animation, bundle)
            roles |= {*list_required_roles(animation, bundle)}
            if detector := find_detector_bundle(animation, bundle):
                detectors[detector.name] = detector.compute_fingerprint()
        return {bundle.name: bundle.compute_fingerprint(roles), **detectors, **hash_metric_weights(config)}

    def build_pipeline(self, config: RunConfig, run: str, rows: ManifestSource, *, gpus: int) -> Pipeline:
        """Build the video pipeline."""
        return build_video_pipeline(config, run, rows.modes, gpus=gpus, motions=rows.motions > 0)

    def build_outcomes(self, config: RunConfig, modes: Iterable[Mode]) -> OutcomeBuilder:
        """Return a function whose rows also state the weights and licenses of the record's mode."""
        bundle = open_bundle(config.animation.models)
        weights = {mode: ModeWeights.for_mode(config, bundle, mode) for mode in modes}
        metrics = metric_columns(config)

        def build(finished: FinishedRecord, pipeline: Pipeline) -> RecordOutcome:
            mode_weights = weights[finished.record.mode]
            return build_outcome(finished, pipeline=pipeline, weights=mode_weights, metrics=metrics)

        return build


def build_video_pipeline(
    config: RunConfig, run: str, modes: Mapping[Mode, int], *, gpus: int = 0, motions: bool = False
) -> Pipeline:
    """Build the stages that generate videos of so many records of each mode."""
    cores, light = count_rendering_cores(config), has_light_renderer(config, modes)
    builder = SpecBuilder(config, run, modes, gpus, cores, light)

    def options(mode: Mode) -> dict[str, Any]:
        return {"animation": config.animation.for_mode(mode), "determinism": config.determinism}

    common = options(next(iter(modes)))
    motion = MotionConfig(**common, shared=config.share_motion, strict_batch=builder.batch_size(MotionStage))
    driving = ("read_motion",) if motions else ()
    motion_inputs = ("speech", *driving, "hash_inputs") if config.share_motion else ("speech", *driving)
    after = () if config.share_motion else ("hash_inputs",)
    motion_key = _shared_motion_key if config.share_motion else _motion_key
    score = build_score_stage(config, run, common["animation"])

    specs = []
    if config.tts:
        speak = SpeakStage(SpeakConfig(run=run, tts=config.tts, voice=config.tts_voice))
        specs.append(builder.build(speak, share=_speech))
    spoken = ("speak",) if config.tts else ()
    specs.append(builder.build(HashInputsStage(), after=spoken, share=_locations))
    for mode in modes:
        portrait = PortraitStage(StageConfig(**options(mode)))
        specs.append(builder.build(portrait, after=("hash_inputs",), share=_portrait_key, mode=mode))
    specs += [
        builder.build(SpeechStage(StageConfig(**common)), after=("hash_inputs",), share=_speech_key),
        builder.build(
            MotionStage(motion),
            gpu=MotionStage.resources.gpu - ReadMotionStage.resources.gpu if motions else None,
            inputs=motion_inputs,
            after=after,
            bucket=_window_count,
            share=motion_key,
        ),
    ]
    if motions:
        read_motion = ReadMotionStage(StageConfig(**options("human")))  # driving videos show people in either mode
        specs.append(builder.build(read_motion, after=("hash_inputs",), share=_driving_key))
    for mode in modes:
        render = RenderStage(RenderConfig(**options(mode), run=run, save_motion=config.save_motion))
        specs.append(builder.build(render, inputs=("portrait", "motion"), mode=mode))
    specs += [
        builder.build(score, inputs=("portrait", "motion", "render"), optional=True),  # a failed metric keeps the video
        builder.build(VerifyOutputStage(run), inputs=("render",), after=("score",)),
    ]
    return builder.join(specs)


def _speech(record: Record, _facts: Facts) -> Hashable:
    return record.text, record.voice


def _locations(record: Record, _facts: Facts) -> Hashable:
    return record.image, record.audio, record.motion


def _portrait_key(record: Record, facts: Facts) -> Hashable:
    return _content_key("image", record, facts), record.mode, select_options(record.options, "portrait")


def _speech_key(record: Record, facts: Facts) -> Hashable | None:
    if not record.audio:
        return None
    return _content_key("audio", record, facts), record.motion is not None, select_options(record.options, "speech")


def _driving_key(record: Record, facts: Facts) -> Hashable | None:
    if not record.motion:
        return None
    return _content_key("motion", record, facts), select_options(record.options, "read_motion")


def _motion_key(record: Record, facts: Facts) -> Hashable:
    """Return the key of a motion; rows share it if they have the same recording, and the same seed or only a motion."""
    return _shared_motion_key(record, facts), None if record.motion and not record.audio else record.seed


def _shared_motion_key(record: Record, facts: Facts) -> Hashable:
    contents = (_content_key(column, record, facts) for column in ("audio", "motion"))
    options = (select_options(record.options, stage) for stage in ("read_motion", "motion"))
    return (*contents, record.cfg_scale, record.given_seed, *options)


def _content_key(column: str, record: Record, facts: Facts) -> Hashable:
    """Return the hash of the file in a column, or its location if the file is too large to be hashed."""
    return facts["hash_inputs"][f"{column}_sha256"] or getattr(record, column)


def _window_count(_record: Record, facts: Facts) -> Hashable:
    return facts["speech"]["windows"]
