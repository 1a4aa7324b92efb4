"""The figures of each metric: its mean, spread and gaps, by groups, and the videos at both ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from joyvasa.metrics import METRIC_NAMES, build_metric
from joyvasa.metrics.base import MetricColumn
from pipelines.report.grouping import Grouping
from pipelines.report.rows import RunRows
from pipelines.report.statistics import Bootstrap, Summary

EXTREMES = 20  # videos at either end


@dataclass(frozen=True)
class Reason:
    """Why videos have no number of a metric.

    Args:
        code: stable.
        count: of videos.
        sentence: of one of them.
    """

    code: str
    count: int
    sentence: str


@dataclass(frozen=True)
class GroupFigure:
    """One metric of the records with one value in one column."""

    value: str
    summary: Summary


@dataclass(frozen=True)
class MetricFigures:
    """One metric of one run.

    Args:
        column: what it is.
        summary: over all videos.
        videos: that it could have.
        reasons: for those that it has not, most frequent first.
        groups: by column.
        worst, best: places of rows and their numbers, the extreme one first; lowest and highest where neither is
            better. Empty where all videos have the same number.
    """

    column: MetricColumn
    summary: Summary
    videos: int
    reasons: list[Reason]
    groups: dict[str, list[GroupFigure]] = field(default_factory=dict)
    worst: list[tuple[int, float]] = field(default_factory=list)
    best: list[tuple[int, float]] = field(default_factory=list)

    @property
    def coverage(self) -> float | None:
        """Part of the videos that have a number."""
        return self.summary.n / self.videos if self.videos else None


def known_columns() -> dict[str, MetricColumn]:
    """The columns of all metrics that this program has, by name, in the order of tables."""
    return {column.name: column for name in METRIC_NAMES for column in build_metric(name).columns}


def metric_figures(rows: RunRows, bootstrap: Bootstrap) -> list[MetricFigures]:
    """The figures of all metrics of a run."""
    known = known_columns()
    videos = int(rows.videos().sum())
    figures = []
    for name in [*(name for name in known if name in rows.metrics), *(n for n in rows.metrics if n not in known)]:
        column = known.get(name) or MetricColumn(name, name, "not a metric of this version of the program")
        values = rows.metric(name)
        worst, best = _extremes(values, column)
        summary = bootstrap.summary(values)
        reasons = _reasons(rows, name, videos - summary.n)
        figures.append(MetricFigures(column, summary, videos, reasons, worst=worst, best=best))
    _by_groups(rows, [one for one in figures if one.summary.n], bootstrap)
    return figures


def _by_groups(rows: RunRows, figures: Sequence[MetricFigures], bootstrap: Bootstrap) -> None:
    for grouping in rows.groupings():
        members = _members(grouping)
        for one in figures:
            one.groups[grouping.column] = []
        for value, places in members.items():  # metrics innermost: their numbers of values, and so draws, are alike
            for one in figures:
                summary = bootstrap.summary(rows.metric(one.column.name)[places])
                one.groups[grouping.column].append(GroupFigure(value, summary))


def _members(grouping: Grouping) -> dict[str, np.ndarray]:
    """Places of the rows by value."""
    return {value: np.flatnonzero(grouping.codes == code) for code, value in enumerate(grouping.values)}


def _extremes(values: np.ndarray, column: MetricColumn) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    places = np.flatnonzero(np.isfinite(values))
    if not len(places) or values[places].min() == values[places].max():
        return [], []
    order = places[np.argsort(values[places], kind="stable")]
    n_low = min(EXTREMES, -(-len(order) // 2))
    low = [(int(at), float(values[at])) for at in order[:n_low]]
    high = [(int(at), float(values[at])) for at in order[::-1][: min(EXTREMES, len(order) - n_low)]]
    return (high, low) if column.better == "lower" else (low, high)


def _reasons(rows: RunRows, name: str, missing: int) -> list[Reason]:
    """Reasons by number; those that left none are counted, too."""
    known = rows.reasons.get(name, {})
    found = [Reason(code, count, sentence) for code, (count, sentence) in known.items()]
    told = sum(reason.count for reason in found)
    if missing > told:
        found.append(Reason("no_reason", missing - told, "the rows do not say why"))
    return sorted(found, key=lambda reason: -reason.count)
