"""Recordings become a data set: watch -> extract, then the shards are joined."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.errors import InputError
from joyvasa.models import DETECTOR_ROLES, detector_name, require_weights
from joyvasa.training.clip_config import FRAMES_PER_SECOND
from manifests.manifest import open_manifest
from manifests.plan import Plan
from manifests.run.description import RunDescription
from manifests.run.events import EventLog
from manifests.run.folder import RunFolder
from manifests.run.outcome import Outcome
from manifests.storage import open_storage
from manifests.video_files import names_videos, video_manifest
from pipelines.engine.events import Listener
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import Finished
from pipelines.runs.config import RunConfig
from pipelines.runs.dataset_join import Prepared, join_shards
from pipelines.runs.generate import RunResult, begin, checked_plan, described, drive, gpus_of, located, unchanged_source
from pipelines.runs.outcomes import ending_of
from pipelines.runs.resources import sized
from pipelines.runs.video_pipeline import stage_spec
from stages.clip_motion import ClipMotionConfig, ClipMotionStage
from stages.clip_source import ClipSourceConfig, ClipSourceStage

VIDEOS = "videos.jsonl"  # the manifest that is made of a folder or glob


def prepare(
    videos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: RunConfig | None = None,
    *,
    listener: Listener | None = None,
) -> tuple[RunResult, Prepared]:
    """Makes a data set of recordings.

    Args:
        videos: a folder, a glob, a video file, or a manifest with a column `video`; a path or URI.
        out: the folder of the data set, which must not hold a run yet; a path or URI.
        config: every option; of `animation` those of models, device, precision, batch and detector have an effect.
        listener: hears what happens.

    Raises:
        ManifestError: as `pipelines.runs.generate.generate`.
        InputError: `dataset_empty`, or `mode_unsupported` where a row is an animal.
        JoyvasaError: missing models, a run that was stopped.
    """
    config = dataclasses.replace(located(config or RunConfig()), metrics="none")
    hashes = _hashes(config)
    folder = RunFolder(open_storage(out))
    begun = folder.storage.exists(RunFolder.RUN)
    location = os.fspath(videos)
    if names_videos(location):
        content = video_manifest(location)
        if not begun:
            folder.storage.write(VIDEOS, content)
        location = folder.storage.location(VIDEOS)
    source = open_manifest(location)
    plan, found = checked_plan(source, config, videos=True)
    if "animal" in found.modes:
        sentence = f"{location}: has rows of mode animal; expected human ones: their motion alone can be learned"
        raise InputError("mode_unsupported", f"{sentence}, leave the others out")
    description = described(config, found, hashes, kind="prepare")
    pipeline = preparation_pipeline(config, folder.storage.root, gpus=gpus_of(config))
    begin(folder, description, plan)
    result = drive(folder, source, plan, description, config, pipeline, _outcome, listener)
    return result, _joined(folder, plan, config)


def go_on(
    folder: RunFolder,
    description: RunDescription,
    plan: Plan,
    config: RunConfig,
    listener: Listener | None,
    *,
    retry: Collection[str] = (),
) -> RunResult:
    """Goes on with a data set that is not finished; what `pipelines.runs.generate.resume` calls for such a run."""
    source = unchanged_source(description, _hashes(config))
    pipeline = preparation_pipeline(config, folder.storage.root, gpus=gpus_of(config))
    result = drive(folder, source, plan, description, config, pipeline, _outcome, listener, retry=retry)
    _joined(folder, plan, config)
    return result


def preparation_pipeline(config: RunConfig, run: str, *, gpus: int = 0) -> Pipeline:
    """The stages that make clips: watch -> extract.

    Args:
        config: every option.
        run: the folder of the data set; an absolute path or URI.
        gpus: to work on.
    """
    options = sized(config.stages, (), gpus)
    common: dict[str, Any] = {"run": run, "animation": config.animation, "clips": config.clips}
    return Pipeline(
        (
            stage_spec("watch", ClipSourceStage(ClipSourceConfig(**common)), options),
            stage_spec("extract", ClipMotionStage(ClipMotionConfig(**common)), options, inputs=("watch",)),
        )
    )


def _hashes(config: RunConfig) -> dict[str, Any]:
    """Of the weights, which must be there and be allowed."""
    bundle = open_bundle(config.animation.models)
    used = ("motion_extractor", *DETECTOR_ROLES[detector_name(config.animation, bundle)])
    require_weights(config.animation, bundle, used)
    return {bundle.name: bundle.fingerprint(used)}


def _joined(folder: RunFolder, plan: Plan, config: RunConfig) -> Prepared:
    with folder.lock() as lock, EventLog(folder.storage) as log:
        prepared = join_shards(folder, plan, open_bundle(config.animation.models), on_shard=lock.renew)
        log.write("dataset_finished", clips=sum(prepared.card.clips.values()), hours=prepared.card.hours)
    return prepared


def _outcome(finished: Finished, pipeline: Pipeline) -> Outcome:
    """The outcome row of a recording; `frames` and `duration_s` are those of its clips."""
    watched: Mapping[str, Any] = finished.facts.get("watch", {})
    made: Mapping[str, Any] = finished.facts.get("extract", {})
    frames = made.get("frames")
    return Outcome(
        **ending_of(finished, pipeline),
        frames=frames,
        duration_s=frames / FRAMES_PER_SECOND if frames else None,
        sha256=watched.get("sha256"),
        warnings=made.get("told"),
        warning_codes=made.get("rejected"),
    )
