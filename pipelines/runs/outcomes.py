"""The outcome row of a record, and the metrics and weights that it states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.bundles.requirements import find_detector_bundle, list_required_roles
from joyvasa.metrics import FVD, build_metric, check_availability
from joyvasa.mode import Mode
from joyvasa.options import AnimationConfig
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import RESULT_FIELDS
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import FinishedRecord
from pipelines.runs.config import RunConfig
from stages.base import SEPARATORS
from stages.score import ScoreConfig, ScoreStage

METRIC_PREFIX = "metric."  # prefix of facts that are metrics
REASON_SUFFIX = ".reason"  # suffix of facts that state why a metric has no number
STANDARD_COLUMNS = frozenset(field.name for field in RESULT_FIELDS)

OutcomeBuilder: TypeAlias = Callable[[FinishedRecord, Pipeline], RecordOutcome]
"""Build the outcome row of a record that has left the pipeline."""


@dataclass(frozen=True)
class ModeWeights:
    """The weights that generate the videos of one mode, as stated in outcome rows."""

    bundle: str  # name and fingerprint of the bundle
    licenses: tuple[str, ...]  # names of the licenses, those of metrics included

    @classmethod
    def for_mode(cls, config: RunConfig, bundle: Bundle, mode: Mode) -> ModeWeights:
        """Return the weights that a run uses in one mode."""
        animation = config.animation.for_mode(mode)
        roles = list_required_roles(animation, bundle)
        metric_licenses = open_bundle(config.metric_models).get_licenses(find_metric_roles(config))
        detector = find_detector_bundle(animation, bundle)
        licenses = [*bundle.get_licenses(roles).values(), *metric_licenses.values()]
        licenses += detector.get_licenses().values() if detector else []
        names = sorted({license.name for license in licenses})
        return cls(f"{bundle.name} {bundle.compute_fingerprint(roles)}", tuple(names))


def build_outcome(
    finished: FinishedRecord, *, pipeline: Pipeline, weights: ModeWeights | None = None, metrics: Sequence[str] = ()
) -> RecordOutcome:
    """Build the outcome row of a record: its status, and the columns that the stages declare."""
    rejection = finished.rejection
    values: dict[str, Any] = {}
    for spec in pipeline.route(finished.record).order:
        facts = finished.facts.get(spec.output, {})
        columns = spec.stage.columns if rejection else {**spec.stage.columns, **spec.stage.output_columns}
        for name in columns:
            if values.get(name) is None:
                values |= {name: facts[name]} if name in facts else {}
            elif name in SEPARATORS and facts.get(name):
                values[name] = SEPARATORS[name].join((values[name], str(facts[name])))

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
        facts={name: value for name, value in values.items() if name not in STANDARD_COLUMNS},
        **{name: value for name, value in values.items() if name in STANDARD_COLUMNS},
        **_collect_scores(finished.facts.get("score", {}), metrics),
    )


def _collect_scores(facts: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """Return the fields `metrics` and `metric_reasons` of the outcome row.

    Args:
        facts: facts of the score stage; only the reason if it rejected the record.
        metrics: columns of the metrics, all of which get this reason.
    """
    if "error_code" in facts:
        reason = f"{facts['error_code']}: {facts['error']}"
        return {"metrics": {}, "metric_reasons": dict.fromkeys(metrics, reason)}
    scores = {
        name.removeprefix(METRIC_PREFIX): value for name, value in facts.items() if name.startswith(METRIC_PREFIX)
    }
    reasons = {name.removesuffix(REASON_SUFFIX): text for name, text in scores.items() if name.endswith(REASON_SUFFIX)}
    numbers = {name: value for name, value in scores.items() if not name.endswith(REASON_SUFFIX)}
    return {"metrics": numbers, "metric_reasons": reasons}


def build_score_stage(config: RunConfig, run: str, animation: AnimationConfig) -> ScoreStage:
    """Build the stage that computes the metrics of a run."""
    return ScoreStage(
        ScoreConfig(
            run=run,
            metrics=config.metric_names,
            models=config.metric_models,
            device=config.metric_device,
            animation=animation,
        )
    )


def metric_columns(config: RunConfig) -> tuple[str, ...]:
    """Return the columns of the metrics of a run, including those without weights."""
    return tuple(column.name for name in config.metric_names for column in build_metric(name).columns)


def hash_metric_weights(config: RunConfig) -> dict[str, Any]:
    """Hash the weights of the metrics; return an empty dictionary if the metrics need no weights.

    Returns:
        `metrics`: one hash of all weights; `fvd`: settings of the FVD features, if they are computed.
    """
    bundle, roles = open_bundle(config.metric_models), find_metric_roles(config)
    if not roles:
        return {}
    hashes: dict[str, Any] = {"metrics": bundle.compute_fingerprint(roles)}
    if FVD in config.metric_names and set(build_metric(FVD).roles) <= set(roles):
        from joyvasa.metrics.fvd import collect_fvd_choices

        hashes[FVD] = dict(collect_fvd_choices(bundle))
    return hashes


def find_metric_roles(config: RunConfig) -> tuple[str, ...]:
    """Return the bundle roles of the metrics of a run whose weights exist and are licensed for it."""
    bundle, commercial = open_bundle(config.metric_models), config.animation.licenses == "commercial"
    available = [
        metric
        for metric in map(build_metric, config.metric_names)
        if check_availability(metric, bundle, commercial=commercial) is None
    ]
    return tuple(sorted({role for metric in available for role in metric.roles}))
