"""Score existing videos, from any system, with the stage that scores generated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from joyvasa.errors import ConfigError
from joyvasa.mode import Mode
from manifests.run.description import RunKind
from manifests.run.folder import RunFolder
from manifests.run.outcome import Outcome
from manifests.storage import open_storage
from pipelines.engine.events import Listener
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import Finished
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import OutcomeBuilder, RunDefinition, RunResult, start_run, with_absolute_paths
from pipelines.runs.metrics import metric_hashes, score_stage
from pipelines.runs.outcomes import ending_of, scores_of
from pipelines.runs.resources import sized
from pipelines.runs.video_pipeline import stage_spec
from stages.video_input import VideoInputConfig, VideoInputStage

MAX_NAME_CHARACTERS = 80


class EvaluateRun(RunDefinition):
    """Score existing videos: video -> score."""

    kind: ClassVar[RunKind] = "evaluate"
    reads_videos: ClassVar[bool] = True

    def hash_weights(self, config: RunConfig, modes: Sequence[Mode]) -> dict[str, Any]:
        """Hash the weights of the metrics."""
        return metric_hashes(config)

    def build_pipeline(self, config: RunConfig, run: str, modes: Sequence[Mode], *, gpus: int) -> Pipeline:
        """Build the stages that read and score videos."""
        options = sized(config.stages, (), gpus)
        video = VideoInputStage(VideoInputConfig(crop=config.animation.crop))
        return Pipeline(
            (
                stage_spec("video", video, options),
                stage_spec("score", score_stage(config, run, config.animation), options, inputs=("video",)),
            )
        )

    def build_outcomes(self, config: RunConfig, modes: Sequence[Mode]) -> OutcomeBuilder:
        """Return the function that builds outcome rows; `input_video` holds the path of the scored video."""
        return _outcome


def evaluate(
    manifest: str | Path,
    out: str | Path,
    name: str,
    config: RunConfig | None = None,
    *,
    listener: Listener | None = None,
) -> RunResult:
    """Score the video of each row of a manifest.

    Args:
        manifest: with a column `video`, and where known `audio` (the recording), `image` (the source picture, as large
            as the frames), `record_id`, `mode`; other columns are passed through.
        out: run folder, which must not hold a run yet; a path or URI.
        name: name of the system that generated the videos, for tables.
        config: every option; those of making videos have no effect, but for `animation.crop`, which says how large a
            part of the frame counts as the face.
        listener: called with every event.

    Raises:
        ConfigError: `config_invalid`, the name.
        ManifestError: as `pipelines.runs.generate.generate`.
        JoyvasaError: the run stopped.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        expected = f"1 to {MAX_NAME_CHARACTERS} printable characters"
        raise ConfigError("config_invalid", f"name is {name[:MAX_NAME_CHARACTERS]!r}; expected {expected}")
    config = with_absolute_paths(config or RunConfig())
    if not config.metric_names:
        raise ConfigError("config_invalid", "metrics is none; expected at least one to measure: leave it out for all")
    folder = RunFolder(open_storage(str(out)))
    return start_run(EvaluateRun(), folder, manifest, config, name=name, listener=listener)


def _outcome(finished: Finished, pipeline: Pipeline) -> Outcome:
    """Build the outcome row of a scored video."""
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
