"""Metrics of whole runs, with every choice behind them, or the reason for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from joyvasa.errors import JoyvasaError
from joyvasa.metrics import FVD
from joyvasa.metrics.base import NotMeasured
from pipelines.report import set_metrics
from pipelines.report.metrics import MetricFigures

MAX_NULL_RECORDS = 2000  # each is one small file to read, or several
CORRELATION = "mouth_sound_correlation"


@dataclass(frozen=True)
class SetFigure:
    """One number of a whole run.

    Args:
        name, title: of the metric.
        against: the other run, where there is one.
        value: or None.
        reason: why there is none.
        choices: everything that the value depends on.
    """

    name: str
    title: str
    against: str
    value: float | None
    reason: str = ""
    choices: Mapping[str, object] = field(default_factory=dict)


def set_figures(run: str, others: Sequence[tuple[str, str]], figures: Sequence[MetricFigures]) -> list[SetFigure]:
    """All metrics of a run as a whole.

    Args:
        run: run folder.
        others: name and folder of the runs that it is compared with.
        figures: of its metrics.
    """
    found = [_fvd(run, name, folder) for name, folder in others]
    if not found:
        sentence = "no_reference: no other run to measure the distance to; expected joyvasa report RUN --compare REAL"
        found = [SetFigure(FVD, "FVD-25", "", None, f"{sentence}, where REAL is made by joyvasa evaluate")]
    return [*found, *_null(run, figures)]


def _fvd(run: str, name: str, other: str) -> SetFigure:
    try:
        result = set_metrics.fvd(run, other)
    except JoyvasaError as error:  # what the other pages say holds all the same
        return SetFigure(FVD, "FVD-25", name, None, str(error))
    if isinstance(result.value, NotMeasured):
        return SetFigure(FVD, "FVD-25", name, None, f"{result.value.code}: {result.value.sentence}", result.choices)
    return SetFigure(FVD, "FVD-25", name, result.value, "", result.choices)


def _null(run: str, figures: Sequence[MetricFigures]) -> list[SetFigure]:
    n = next((one.summary.n for one in figures if one.column.name == CORRELATION), 0)
    if not n:
        return []
    titles = {"mean": "Mouth and sound by chance, mean", "high": "Mouth and sound by chance, 95th percentile"}
    names = {kind: f"mouth_sound_null_{kind}" for kind in titles}
    if n > MAX_NULL_RECORDS:
        reason = f"too_many_records: {n} records; it is computed here for up to {MAX_NULL_RECORDS}"
        reason += ": call pipelines.report.set_metrics.mouth_sound_null"
        return [SetFigure(names[kind], title, "", None, reason) for kind, title in titles.items()]
    try:
        null = set_metrics.mouth_sound_null(run)
    except JoyvasaError as error:
        return [SetFigure(names[kind], title, "", None, str(error)) for kind, title in titles.items()]
    reason = f"{null.reason.code}: {null.reason.sentence}" if null.reason else ""
    choices = {"pairs": len(null.values), "partner": "the next record of the shard with another sound"}
    values = {"mean": null.mean, "high": null.high}
    return [SetFigure(names[kind], title, "", values[kind], reason, choices) for kind, title in titles.items()]
