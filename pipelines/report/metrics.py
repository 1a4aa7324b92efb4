"""The figures of each metric: summary, reasons for missing numbers, summaries by group, best and worst videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from joyvasa.metrics import METRIC_NAMES, build_metric
from joyvasa.metrics.base import MetricColumn
from pipelines.report.rows import OutcomeRows
from pipelines.report.statistics import Bootstrap, Summary

EXTREMES = 20  # number of best and of worst videos


@dataclass(frozen=True)
class MissingReason:
    """A reason why videos have no number of a metric."""

    code: str  # stable code of the reason
    count: int  # number of videos
    sentence: str  # sentence of one of these videos


@dataclass(frozen=True)
class GroupFigure:
    """The summary of a metric over the records with one value in a column."""

    value: str
    summary: Summary


@dataclass(frozen=True)
class MetricFigures:
    """The figures of one metric of a run."""

    column: MetricColumn  # column of the metric
    summary: Summary  # summary over all videos
    videos: int  # number of videos
    reasons: list[MissingReason]  # reasons for missing numbers, most frequent first
    groups: dict[str, list[GroupFigure]] = field(default_factory=dict)  # summaries by column and value
    # worst, best: row indices and numbers, the most extreme first; lowest and highest if neither direction is better.
    # Empty if all videos have the same number
    worst: list[tuple[int, float]] = field(default_factory=list)
    best: list[tuple[int, float]] = field(default_factory=list)

    @property
    def constant(self) -> bool:
        """Whether several videos have the same number."""
        return self.summary.n > 1 and self.summary.minimum == self.summary.maximum

    @property
    def coverage(self) -> float | None:
        """Fraction of the videos that have a number."""
        return self.summary.n / self.videos if self.videos else None


@cache
def all_metric_columns() -> dict[str, MetricColumn]:
    """Return the columns of all registered metrics by name, in the order of tables."""
    return {column.name: column for name in METRIC_NAMES for column in build_metric(name).columns}


def compute_metric_figures(rows: OutcomeRows, bootstrap: Bootstrap) -> list[MetricFigures]:
    """Compute the figures of all metrics of a run."""
    columns = all_metric_columns()
    videos = int(rows.find_videos().sum())
    figures = []
    for name in [*(name for name in columns if name in rows.metrics), *(n for n in rows.metrics if n not in columns)]:
        column = columns.get(name) or MetricColumn(name, name, "not a metric of this version of the program")
        values = rows.read_metric(name)
        worst, best = _find_extremes(values, column)
        summary = bootstrap.summarize(values)
        reasons = _list_reasons(rows, name, videos - summary.n)
        figures.append(MetricFigures(column, summary, videos, reasons, worst=worst, best=best))
    _add_groups(rows, [metric for metric in figures if metric.summary.n], bootstrap)
    return figures


def _add_groups(rows: OutcomeRows, figures: Sequence[MetricFigures], bootstrap: Bootstrap) -> None:
    for grouping in rows.find_groupings():
        for metric in figures:
            metric.groups[grouping.column] = []
        for code, value in enumerate(grouping.values):
            row_indices = np.flatnonzero(grouping.codes == code)
            for metric in figures:  # innermost: groups of one size share the draws of the bootstrap
                summary = bootstrap.summarize(rows.read_metric(metric.column.name)[row_indices])
                metric.groups[grouping.column].append(GroupFigure(value, summary))


def _find_extremes(values: np.ndarray, column: MetricColumn) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    row_indices = np.flatnonzero(np.isfinite(values))
    if not len(row_indices) or values[row_indices].min() == values[row_indices].max():
        return [], []
    order = row_indices[np.argsort(values[row_indices], kind="stable")]
    n_low = min(EXTREMES, -(-len(order) // 2))
    low = [(int(row_index), float(values[row_index])) for row_index in order[:n_low]]
    n_high = min(EXTREMES, len(order) - n_low)
    high = [(int(row_index), float(values[row_index])) for row_index in order[::-1][:n_high]]
    return (high, low) if column.better == "lower" else (low, high)


def _list_reasons(rows: OutcomeRows, name: str, missing: int) -> list[MissingReason]:
    """Return the reasons for missing numbers, most frequent first; videos without a stated reason are one of them."""
    stated = rows.reasons.get(name, {})
    reasons = [MissingReason(code, count, sentence) for code, (count, sentence) in stated.items()]
    n_stated = sum(reason.count for reason in reasons)
    if missing > n_stated:
        reasons.append(MissingReason("no_reason", missing - n_stated, "the rows state no reason"))
    return sorted(reasons, key=lambda reason: -reason.count)
