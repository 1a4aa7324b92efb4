"""Titles of outcome columns, and the order in which the page shows metrics."""

from __future__ import annotations

from functools import cache

from joyvasa.metrics import METRIC_NAMES, build_metric
from joyvasa.metrics.base import MetricColumn
from manifests.run.outcome_table import METRIC_COLUMN_PREFIX
from pipelines.report.verdict import load_checks

TITLES = {
    "record_id": "Record",
    "error_code": "Error code",
    "duration_s": "Duration, s",
    "n_faces": "Faces",
}


def find_metric_column(column: str) -> MetricColumn | None:
    """Return the metric of an outcome column; None if it is not one of this version."""
    return _metric_columns().get(column.removeprefix(METRIC_COLUMN_PREFIX))


def get_column_title(column: str) -> str:
    """Return the title of an outcome column, with the unit of a metric."""
    metric = find_metric_column(column) if column.startswith(METRIC_COLUMN_PREFIX) else None
    if metric:
        return f"{metric.title}, {metric.unit}" if metric.unit else metric.title
    name = column.removeprefix(METRIC_COLUMN_PREFIX).replace("_", " ")
    return TITLES.get(column, name[:1].upper() + name[1:])


def get_rank(column: str) -> int:
    """Return the rank of a metric column among those shown: first the metrics that decide the verdict of a report."""
    leading, name = _list_leading(), column.removeprefix(METRIC_COLUMN_PREFIX)
    return leading.index(name) if name in leading else len(leading)


@cache
def _list_leading() -> tuple[str, ...]:
    return tuple(check.metric for check in load_checks())


@cache
def _metric_columns() -> dict[str, MetricColumn]:
    return {column.name: column for name in METRIC_NAMES for column in build_metric(name).columns}
