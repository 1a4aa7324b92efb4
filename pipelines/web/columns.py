"""Titles of outcome columns, the order in which the page shows metrics, and sliders for their ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from joyvasa.metrics.base import MetricColumn
from manifests.run.outcome_table import METRIC_COLUMN_PREFIX
from pipelines.report.metrics import all_metric_columns
from pipelines.report.verdict import load_checks
from pipelines.web.run_rows import RunRows

TITLES = {
    "record_id": "Record",
    "error_code": "Error code",
    "duration_s": "Duration, s",
    "n_faces": "Faces",
}


def find_metric_column(column: str) -> MetricColumn | None:
    """Return the metric of an outcome column; None if it is not one of this version."""
    return all_metric_columns().get(column.removeprefix(METRIC_COLUMN_PREFIX))


def get_column_title(column: str) -> str:
    """Return the title of an outcome column, with the unit of a metric."""
    metric = find_metric_column(column) if column.startswith(METRIC_COLUMN_PREFIX) else None
    if metric:
        return f"{metric.title}, {metric.unit}" if metric.unit else metric.title
    name = column.removeprefix(METRIC_COLUMN_PREFIX).replace("_", " ")
    return TITLES.get(column, name[:1].upper() + name[1:])


def get_rank(column: str) -> int:
    """Return the rank of a metric column among those shown: first the metrics that decide the verdict of a report."""
    leading, name = [check.metric for check in load_checks()], column.removeprefix(METRIC_COLUMN_PREFIX)
    return leading.index(name) if name in leading else len(leading)


BINS = 32  # of a distribution
DURATION = "duration_s"


@dataclass(frozen=True)
class ColumnSlider:
    """Sliders for the bounds of a column."""

    column: str  # outcome column
    title: str  # title of the column
    measures: str  # meaning of the numbers; may be empty
    # low, high: smallest and largest value
    low: float
    high: float
    better: Literal["higher", "lower"] | None  # direction of improvement, which has one slider; None for two sliders
    heights: list[float]  # height of each bin of the distribution, 0 to 1


def build_sliders(rows: RunRows) -> list[ColumnSlider]:
    """Return sliders for the duration and all metrics that have different values, the decisive metrics first."""
    names = [*sorted(rows.metrics, key=get_rank), DURATION]
    table = rows.read_columns(names)
    sliders = []
    for name in names:
        values = table.column(name).to_numpy()
        values = values[np.isfinite(values)]
        if not len(values) or values.min() == values.max():
            continue
        counts, _ = np.histogram(values, BINS)
        metric = find_metric_column(name)
        sliders.append(
            ColumnSlider(
                column=name,
                title=get_column_title(name),
                measures=metric.measures if metric else "",
                low=float(values.min()),
                high=float(values.max()),
                better=metric.better if metric else None,
                heights=(counts / counts.max()).tolist(),
            )
        )
    return sliders
