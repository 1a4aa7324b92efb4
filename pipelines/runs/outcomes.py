"""What is written down about a record that has left the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles import Bundle
from joyvasa.mode import Mode
from joyvasa.models import roles_in_use
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import RESULT_FIELDS
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import FinishedRecord
from pipelines.runs.config import RunConfig
from pipelines.runs.metrics import metric_licenses
from pipelines.runs.video_pipeline import animation_of

METRIC = "metric."  # begins the name of a fact with a metric
STANDARD = frozenset(field.name for field in RESULT_FIELDS)  # columns that every run has
REASON = ".reason"  # ends the name of a fact that says why there is no number


@dataclass(frozen=True)
class Weights:
    """The weights that records of one mode are made with, as their rows name them."""

    bundle: str  # name and fingerprint
    licenses: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig, bundle: Bundle, mode: Mode) -> Weights:
        """Those of a run."""
        used = roles_in_use(animation_of(config, mode), bundle)
        licenses = {license.name for license in bundle.licenses(used).values()} | metric_licenses(config)
        return cls(f"{bundle.name} {bundle.fingerprint(used)}", tuple(sorted(licenses)))


def build_outcome(
    finished: FinishedRecord, *, pipeline: Pipeline, weights: Weights | None = None, metrics: Sequence[str] = ()
) -> RecordOutcome:
    """Build the outcome row of a record: how it ended, and what its stages declare as columns.

    Args:
        finished: a record that has left the engine.
        pipeline: the pipeline that it has left.
        weights: weights that its video was made with.
        metrics: columns that have a number or a reason.
    """
    rejection = finished.rejection
    values: dict[str, Any] = {}
    for spec in pipeline.order:
        facts = finished.facts.get(spec.output, {})
        columns = spec.stage.columns if rejection else {**spec.stage.columns, **spec.stage.output_columns}
        values |= {name: facts[name] for name in columns if values.get(name) is None and name in facts}
    return RecordOutcome(
        record_id=finished.record.id,
        status=finished.status.value,
        stage=pipeline.by_name[rejection.stage].output if rejection else pipeline.outputs[-1],
        error_code=rejection.code if rejection else None,
        error=rejection.sentence if rejection else None,
        attempts=finished.attempts,
        seconds=finished.seconds,
        bundle=weights.bundle if weights else None,
        licenses=weights.licenses if weights else (),
        facts={name: value for name, value in values.items() if name not in STANDARD},
        **{name: value for name, value in values.items() if name in STANDARD},
        **scores_of(finished.facts.get("score", {}), metrics),
    )


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
