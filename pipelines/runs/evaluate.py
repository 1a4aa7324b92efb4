"""Videos of any system become a run folder of numbers, by the same stage that measures our own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from joyvasa.errors import ConfigError
from manifests.manifest import open_manifest
from manifests.plan import Plan
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.run.outcome import Outcome
from manifests.storage import open_storage
from pipelines.engine.events import Listener
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import Finished
from pipelines.runs.config import RunConfig
from pipelines.runs.generate import RunResult, begin, checked_plan, described, drive, gpus_of, located, unchanged_source
from pipelines.runs.metrics import metric_hashes, score_stage
from pipelines.runs.outcomes import ending_of, scores_of
from pipelines.runs.resources import sized
from pipelines.runs.video_pipeline import stage_spec
from stages.video_input import VideoInputConfig, VideoInputStage

MAX_NAME_CHARACTERS = 80


def evaluate(
    manifest: str | Path,
    out: str | Path,
    name: str,
    config: RunConfig | None = None,
    *,
    listener: Listener | None = None,
) -> RunResult:
    """Measures the video of each row of a manifest.

    Args:
        manifest: with a column `video`, and where known `audio` (the recording), `image` (the source picture, as large
            as the frames), `record_id`, `mode`; other columns are passed through.
        out: the run folder, which must not hold a run yet; a path or URI.
        name: of the system that made the videos, for tables.
        config: every option; those of making videos have no effect, but for `animation.crop`, which says how large a
            part of the frame counts as the face.
        listener: hears what happens.

    Raises:
        ConfigError: `config_invalid`, the name.
        ManifestError: as `pipelines.runs.generate.generate`.
        JoyvasaError: a run that was stopped.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        expected = f"1 to {MAX_NAME_CHARACTERS} printable characters"
        raise ConfigError("config_invalid", f"name is {name[:MAX_NAME_CHARACTERS]!r}; expected {expected}")
    config = located(config or RunConfig())
    if not config.metric_names:
        raise ConfigError("config_invalid", "metrics is none; expected at least one to measure: leave it out for all")
    folder, source = RunFolder(open_storage(str(out))), open_manifest(manifest)
    plan, found = checked_plan(source, config, videos=True)
    description = described(config, found, metric_hashes(config), kind="evaluate", name=name)
    pipeline = evaluation_pipeline(config, folder.storage.root, gpus=gpus_of(config))
    begin(folder, description, plan)
    return drive(folder, source, plan, description, config, pipeline, _outcome, listener)


def go_on(
    folder: RunFolder,
    description: RunDescription,
    plan: Plan,
    config: RunConfig,
    listener: Listener | None,
    *,
    retry: Collection[str] = (),
) -> RunResult:
    """Goes on with an evaluation that did not finish; what `pipelines.runs.generate.resume` calls for such a run."""
    source = unchanged_source(description, metric_hashes(config))
    pipeline = evaluation_pipeline(config, folder.storage.root, gpus=gpus_of(config))
    return drive(folder, source, plan, description, config, pipeline, _outcome, listener, retry=retry)


def evaluation_pipeline(config: RunConfig, run: str, *, gpus: int = 0) -> Pipeline:
    """The stages of an evaluation: video -> score.

    Args:
        config: every option.
        run: the run folder; an absolute path or URI.
        gpus: to work on.
    """
    options = sized(config.stages, (), gpus)
    video = VideoInputStage(VideoInputConfig(crop=config.animation.crop))
    return Pipeline(
        (
            stage_spec("video", video, options),
            stage_spec("score", score_stage(config, run, config.animation), options, inputs=("video",)),
        )
    )


def _outcome(finished: Finished, pipeline: Pipeline) -> Outcome:
    """The outcome row of a video that was measured; where it lies stands in `input_video`."""
    found: Mapping[str, Any] = finished.facts.get("video", {})
    scores: Mapping[str, Any] = finished.facts.get("score", {})
    frames, rate = scores.get("frames"), found.get("frames_per_second")
    return Outcome(
        **ending_of(finished, pipeline),
        frames=frames,
        duration_s=frames / rate if frames and rate else None,
        sha256=found.get("sha256"),
        **scores_of(scores),
    )
