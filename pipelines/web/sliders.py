"""Sliders for the numbers of a run: their ranges, and the distribution of the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.web.columns import find_metric_column, get_column_title, get_rank
from pipelines.web.run_rows import RunRows

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
    """Return sliders for the duration and all metrics that have different values, the decisive metrics first.

    Args:
        rows: rows of the run, refreshed.
    """
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
