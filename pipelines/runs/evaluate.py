"""Score existing videos, from any system, with the stage that scores generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from joyvasa.errors import ConfigError
from joyvasa.mode import Mode
from manifests.run.description import RunKind
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.engine.graph import Pipeline
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import RunDefinition, RunResult, start_run, with_absolute_paths
from pipelines.runs.metrics import metric_hashes, score_stage
from pipelines.runs.resources import SpecBuilder
from stages.read_video import ReadVideoConfig, ReadVideoStage

MAX_NAME_CHARACTERS = 80


class EvaluateRun(RunDefinition):
    """Score existing videos: read_video -> score.

    The column `input_video` of the outcome table holds the path of the scored video.
    """

    kind: ClassVar[RunKind] = "evaluate"
    reads_videos: ClassVar[bool] = True

    def hash_weights(self, config: RunConfig, modes: Sequence[Mode]) -> dict[str, Any]:
        """Hash the weights of the metrics."""
        return metric_hashes(config)

    def build_pipeline(self, config: RunConfig, run: str, modes: Sequence[Mode], *, gpus: int) -> Pipeline:
        """Build the stages that read and score videos."""
        builder = SpecBuilder(config.stages, gpus)
        video = builder.build(ReadVideoStage(ReadVideoConfig(crop=config.animation.crop)))
        score = builder.build(score_stage(config, run, config.animation), inputs=("read_video",))
        return builder.join((video, score))


def evaluate(
    manifest: str | Path,
    out: str | Path,
    name: str,
    config: RunConfig | None = None,
    *,
    listener: EventCallback | None = None,
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
