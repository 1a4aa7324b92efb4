"""Generate a video for each row of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from joyvasa.bundles import open_bundle
from joyvasa.mode import Mode
from joyvasa.models import MOTION_ROLES, require_models, roles_in_use
from manifests.run.description import RunKind
from manifests.run.folder import RunFolder
from manifests.run.outcome import RecordOutcome
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import FinishedRecord
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import OutcomeBuilder, RunDefinition, RunResult, start_run, with_absolute_paths
from pipelines.runs.metrics import metric_columns, metric_hashes
from pipelines.runs.outcomes import Weights, build_outcome
from pipelines.runs.video_pipeline import animation_of, video_pipeline


class GenerateRun(RunDefinition):
    """Generate videos from portraits and sound."""

    kind: ClassVar[RunKind] = "generate"
    reads_videos: ClassVar[bool] = False

    def hash_weights(self, config: RunConfig, modes: Sequence[Mode]) -> dict[str, Any]:
        """Hash the weights used in these modes and those of the metrics."""
        bundle = open_bundle(config.animation.models)
        used: set[str] = set()
        for mode in modes:
            animation = animation_of(config, mode)
            require_models(animation, bundle)
            used |= {*roles_in_use(animation, bundle)}
        return {bundle.name: bundle.fingerprint(used), **metric_hashes(config)}

    def build_pipeline(self, config: RunConfig, run: str, modes: Sequence[Mode], *, gpus: int) -> Pipeline:
        """Build the video pipeline."""
        return video_pipeline(config, run, modes, gpus=gpus)

    def build_outcomes(self, config: RunConfig, modes: Sequence[Mode]) -> OutcomeBuilder:
        """Return a function that also states the weights and licenses of a record's mode."""
        bundle = open_bundle(config.animation.models)
        weights = {mode: Weights.of(config, bundle, mode) for mode in modes}
        metrics = metric_columns(config)

        def build(finished: FinishedRecord, pipeline: Pipeline) -> RecordOutcome:
            used = weights[finished.record.mode]
            return build_outcome(finished, pipeline=pipeline, weights=used, metrics=metrics)

        return build


def generate(
    manifest: str | Path, out: str | Path, config: RunConfig | None = None, *, listener: EventCallback | None = None
) -> RunResult:
    """Generate a video for each row of a manifest.

    Args:
        manifest: Parquet, CSV or JSON Lines, or a folder of these; a path or URI.
        out: run folder, which must not hold a run yet; a path or URI.
        config: every option.
        listener: called with every event.

    Raises:
        ManifestError: bad rows (`manifest_rows`), `run_exists`, `run_changed`, `run_locked`, `output_unwritable`.
        JoyvasaError: missing models, or the run stopped.
    """
    config = with_absolute_paths(config or RunConfig())
    open_bundle(config.animation.models).require(MOTION_ROLES)  # any mode needs them: fail before reading many rows
    return start_run(GenerateRun(), RunFolder(open_storage(str(out))), manifest, config, listener=listener)
