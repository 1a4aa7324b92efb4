"""Prepare a training data set from recordings: find_clips -> extract_motion, then join the shards."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from contextlib import nullcontext
from typing import Any, ClassVar

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.bundles.requirements import require_weights, resolve_detector
from joyvasa.errors import InputError
from joyvasa.faces.registry import list_detector_roles
from joyvasa.mode import Mode
from joyvasa.training.dataset_files import CARD, INDEX, SHARDS, TEMPLATE
from manifests.file_tree import build_video_manifest
from manifests.run.description import ManifestSource, RunKind
from manifests.run.events import EventLog
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.engine.graph import Pipeline
from pipelines.runs.config import RunConfig
from pipelines.runs.dataset_join import README, PreparedDataset, join_shards
from pipelines.runs.driver import RunDefinition, RunResult, start_run
from pipelines.runs.resources import SpecBuilder
from stages.extract_motion import ExtractMotionStage
from stages.find_clips import ClipStageConfig, FindClipsStage

VIDEOS = "videos.jsonl"  # manifest that lists the videos of a folder or glob


class PrepareRun(RunDefinition):
    """Prepare clips of motion and sound: find_clips -> extract_motion."""

    kind: ClassVar[RunKind] = "prepare"
    reads_videos: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = (README, CARD, INDEX, TEMPLATE, SHARDS)

    def hash_weights(self, config: RunConfig, modes: Collection[Mode]) -> dict[str, Any]:
        """Hash the weights of the detector and the motion extractor; refuse animals.

        Raises:
            InputError: `mode_unsupported`.
        """
        if "animal" in modes:
            problem = "the manifest has rows of mode animal; expected human"
            raise InputError("mode_unsupported", f"{problem}: training only supports human motion, remove the others")
        bundle, roles = _require_extraction_weights(config)
        return {bundle.name: bundle.compute_fingerprint(roles)}

    def build_pipeline(self, config: RunConfig, run: str, rows: ManifestSource, *, gpus: int) -> Pipeline:
        """Build the stages that find clips and extract their motion."""
        stage_config = ClipStageConfig(run=run, animation=config.animation, clips=config.clips)
        builder = SpecBuilder(config, run, rows.modes, gpus)
        find = builder.build(FindClipsStage(stage_config))
        extract = builder.build(ExtractMotionStage(stage_config), inputs=("find_clips",))
        return builder.join((find, extract))

    def finish(self, folder: RunFolder, manifest: RunManifest, config: RunConfig) -> PreparedDataset:
        """Join the shards into a data set."""
        with folder.lock() as lock, EventLog(folder.storage) as log:
            prepared = join_shards(folder, len(manifest), open_bundle(config.animation.models), on_shard=lock.renew)
            log.write("dataset_finished", clips=sum(prepared.card.clips.values()), hours=prepared.card.hours)
        return prepared


def prepare_dataset(
    videos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: RunConfig | None = None,
    *,
    on_event: EventCallback | None = None,
) -> tuple[RunResult, PreparedDataset]:
    """Prepare a data set from recordings.

    Args:
        videos: a folder, a glob, a video file, or a manifest with a column `video`; a path or URI.
        out: folder of the data set, which must not contain a run yet; a path or URI.
        config: options of the run; of `animation`, only models, device, precision, batch and detector have an effect.
        on_event: callback for every event.

    Raises:
        ManifestError: see `pipelines.runs.generate.generate_videos`.
        InputError: `dataset_empty`, or `mode_unsupported` if a row has mode animal.
        JoyvasaError: missing models, or the run stopped.
    """
    config = dataclasses.replace((config or RunConfig()).with_absolute_paths(), metrics="none")
    _require_extraction_weights(config)  # fail before listing many videos
    folder, manifest = RunFolder(open_storage(out)), os.fspath(videos)
    content = build_video_manifest(manifest)
    with folder.write_source(VIDEOS, content) if content else nullcontext(manifest) as source:
        result = start_run(PrepareRun(), folder, source, config, on_event=on_event)
    return result, result.product


def _require_extraction_weights(config: RunConfig) -> tuple[Bundle, tuple[str, ...]]:
    """Return the bundle and the roles of the detector and the motion extractor; fail if they are missing or refused."""
    bundle = open_bundle(config.animation.models)
    roles = ("motion_extractor", *list_detector_roles(resolve_detector(config.animation, bundle)))
    require_weights(config.animation, bundle, roles)
    return bundle, roles
