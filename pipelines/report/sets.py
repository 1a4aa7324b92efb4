"""Figures of the metrics of a whole run, with their settings, or the reason why there is no value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from joyvasa.errors import JoyvasaError
from joyvasa.metrics import FVD
from joyvasa.metrics.base import NotMeasured
from pipelines.report import set_metrics
from pipelines.report.metrics import MetricFigures

MAX_NULL_RECORDS = 2000  # each record requires reading at least one small file
CORRELATION = "mouth_sound_correlation"


@dataclass(frozen=True)
class SetFigure:
    """A metric of a whole run."""

    # name, title: name and title of the metric
    name: str
    title: str
    against: str  # name of the reference run; empty if the metric needs none
    value: float | None  # value; None if it could not be computed
    reason: str = ""  # reason why there is no value
    choices: Mapping[str, object] = field(default_factory=dict)  # settings on which the value depends


def compute_set_figures(
    run: str, others: Sequence[tuple[str, str]], figures: Sequence[MetricFigures]
) -> list[SetFigure]:
    """Compute all metrics of a whole run.

    Args:
        run: run folder.
        others: name and folder of the compared runs.
        figures: figures of the metrics of the run.
    """
    distances = [_compute_fvd_figure(run, name, folder) for name, folder in others]
    if not distances:
        sentence = "no_reference: no other run to measure the distance to; expected joyvasa report RUN --compare REAL"
        distances = [SetFigure(FVD, "FVD-25", "", None, f"{sentence}, where REAL is a run of joyvasa evaluate")]
    return [*distances, *_compute_null_figures(run, figures)]


def _compute_fvd_figure(run: str, name: str, other: str) -> SetFigure:
    try:
        result = set_metrics.compute_run_fvd(run, other)
    except JoyvasaError as error:  # the other figures are still valid
        return SetFigure(FVD, "FVD-25", name, None, str(error))
    if isinstance(result.value, NotMeasured):
        return SetFigure(FVD, "FVD-25", name, None, f"{result.value.code}: {result.value.sentence}", result.choices)
    return SetFigure(FVD, "FVD-25", name, result.value, "", result.choices)


def _compute_null_figures(run: str, figures: Sequence[MetricFigures]) -> list[SetFigure]:
    n = next((metric.summary.n for metric in figures if metric.column.name == CORRELATION), 0)
    if not n:
        return []

    titles = {"mean": "Mouth and sound by chance, mean", "high": "Mouth and sound by chance, 95th percentile"}
    names = {kind: f"mouth_sound_null_{kind}" for kind in titles}
    if n > MAX_NULL_RECORDS:
        reason = f"too_many_records: {n} records; the report computes it for up to {MAX_NULL_RECORDS}"
        reason += ": call pipelines.report.set_metrics.compute_mouth_sound_null"
        return [SetFigure(names[kind], title, "", None, reason) for kind, title in titles.items()]
    try:
        null = set_metrics.compute_mouth_sound_null(run)
    except JoyvasaError as error:
        return [SetFigure(names[kind], title, "", None, str(error)) for kind, title in titles.items()]

    reason = f"{null.reason.code}: {null.reason.sentence}" if null.reason else ""
    choices = {"pairs": len(null.values), "partner": "the next record of the shard with another sound"}
    values = {"mean": null.mean, "high": null.high}
    return [SetFigure(names[kind], title, "", values[kind], reason, choices) for kind, title in titles.items()]
