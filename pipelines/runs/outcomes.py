"""What is written down about a record that has left the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles import Bundle
from joyvasa.mode import Mode
from joyvasa.models import roles_in_use
from manifests.run.outcome import Outcome
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import Finished
from pipelines.runs.config import RunConfig
from pipelines.runs.metrics import metric_licences
from pipelines.runs.video_pipeline import animation_of

METRIC = "metric."  # begins the name of a fact with a metric
REASON = ".reason"  # ends the name of a fact that says why there is no number


@dataclass(frozen=True)
class Weights:
    """The weights that records of one mode are made with, as their rows name them."""

    bundle: str  # name and fingerprint
    licences: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig, bundle: Bundle, mode: Mode) -> Weights:
        """Those of a run."""
        used = roles_in_use(animation_of(config, mode), bundle)
        licences = {licence.name for licence in bundle.licences(used).values()} | metric_licences(config)
        return cls(f"{bundle.name} {bundle.fingerprint(used)}", tuple(sorted(licences)))


def outcome_of(
    finished: Finished, *, pipeline: Pipeline, weights: Mapping[str, Weights], metrics: Sequence[str] = ()
) -> Outcome:
    """The outcome row of a record.

    Args:
        finished: as the engine gives it.
        pipeline: that the record has left.
        weights: by mode.
        metrics: columns that have a number or a reason.
    """
    facts = finished.facts
    made: Mapping[str, Any] = {} if finished.rejection else facts["render"]
    portrait: Mapping[str, Any] = facts.get("portrait", {})
    identity: Mapping[str, Any] = facts.get("identify", {})
    seed: Any = facts.get("motion", {}).get("seed")
    used = weights[finished.record.row["mode"]]
    return Outcome(
        **ending_of(finished, pipeline),
        frames=made.get("frames"),
        duration_s=made.get("duration_s"),
        seed=seed,
        video=made.get("video"),
        sha256=made.get("sha256"),
        motion_file=made.get("motion_file"),
        image_sha256=identity.get("image_sha256"),
        audio_sha256=identity.get("audio_sha256"),
        motion_sha256=identity.get("motion_sha256"),
        n_faces=portrait.get("n_faces"),
        warnings=portrait.get("warnings"),
        warning_codes=portrait.get("warning_codes"),
        bundle=used.bundle,
        licences=used.licences,
        **scores_of(facts.get("score", {}), metrics),
    )


def ending_of(finished: Finished, pipeline: Pipeline) -> dict[str, Any]:
    """Fields of the outcome row that every kind of run has: where the record ended, and how."""
    rejection = finished.rejection
    return {
        "record_id": finished.record.id,
        "status": finished.status.value,
        "stage": pipeline.by_name[rejection.stage].output if rejection else pipeline.outputs[-1],
        "error_code": rejection.code if rejection else None,
        "error": rejection.sentence if rejection else None,
        "attempts": finished.attempts,
        "seconds": finished.seconds,
    }


def scores_of(facts: Mapping[str, Any], metrics: Sequence[str] = ()) -> dict[str, Any]:
    """Fields of the outcome row that the facts of the score stage fill.

    Args:
        facts: of the stage; the reason alone where it gave the record up.
        metrics: columns that this reason is for.
    """
    if "error_code" in facts:
        reason = f"{facts['error_code']}: {facts['error']}"
        return {"metrics": {}, "metric_reasons": dict.fromkeys(metrics, reason)}
    found = {name.removeprefix(METRIC): value for name, value in facts.items() if name.startswith(METRIC)}
    return {
        "metrics": {name: value for name, value in found.items() if not name.endswith(REASON)},
        "metric_reasons": {name.removesuffix(REASON): value for name, value in found.items() if name.endswith(REASON)},
    }
