"""Score existing videos, from any system, with the stage that also scores generated videos."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from joyvasa.errors import ConfigError
from joyvasa.mode import Mode
from manifests.run.description import ManifestSource, RunKind
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.engine.graph import Pipeline
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import RunDefinition, RunResult, start_run
from pipelines.runs.outcomes import build_score_stage, hash_metric_weights
from pipelines.runs.resources import SpecBuilder
from stages.read_video import ReadVideoStage

MAX_NAME_CHARACTERS = 80


class EvaluateRun(RunDefinition):
    """Score existing videos: read_video -> score.

    The column `input_video` of the outcome table holds the path of the scored video.
    """

    kind: ClassVar[RunKind] = "evaluate"
    reads_videos: ClassVar[bool] = True

    def hash_weights(self, config: RunConfig, modes: Collection[Mode]) -> dict[str, Any]:
        """Hash the weights of the metrics."""
        return hash_metric_weights(config)

    def build_pipeline(self, config: RunConfig, run: str, rows: ManifestSource, *, gpus: int) -> Pipeline:
        """Build the stages that read and score videos."""
        builder = SpecBuilder(config, run, rows.modes, gpus)
        video = builder.build(ReadVideoStage(config.animation.crop))
        score = builder.build(
            build_score_stage(config, run, config.animation.for_mode("human")), inputs=("read_video",)
        )
        return builder.join((video, score))


def evaluate_videos(
    manifest: str | Path,
    out: str | Path,
    name: str,
    config: RunConfig | None = None,
    *,
    on_event: EventCallback | None = None,
) -> RunResult:
    """Score the video of each row of a manifest.

    Args:
        manifest: table with the column `video`, and if available `audio` (the recording), `image` (the portrait, of the
            same size as the frames), `record_id`, `mode`; other columns are passed through. A path or URI.
        out: run folder, which must not contain a run yet; a path or URI.
        name: name of the system that generated the videos, for tables.
        config: options of the run; options of video generation have no effect, except for `animation.crop`, the part of
            the frame that counts as the face.
        on_event: callback for every event.

    Raises:
        ConfigError: `config_invalid` if the name is invalid or no metric is selected.
        ManifestError: see `pipelines.runs.generate.generate_videos`.
        JoyvasaError: the run stopped.
    """
    config = (config or RunConfig()).with_absolute_paths()
    check_evaluation(name, config)
    folder = RunFolder(open_storage(str(out)))
    return start_run(EvaluateRun(), folder, manifest, config, name=name, on_event=on_event)


def check_evaluation(name: str, config: RunConfig) -> None:
    """Check the options of an evaluation.

    Raises:
        ConfigError: `config_invalid` if the name is invalid or no metric is selected.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        expected = f"1 to {MAX_NAME_CHARACTERS} printable characters"
        raise ConfigError("config_invalid", f"name is {name[:MAX_NAME_CHARACTERS]!r}; expected {expected}")
    if not config.metric_names:
        raise ConfigError("config_invalid", "metrics is none; expected at least one metric: omit the option for all")
