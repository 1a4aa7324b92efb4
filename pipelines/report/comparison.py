"""Comparison with other runs, paired by record id, and with the tables of the JoyVASA paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pyarrow.compute
import yaml

from joyvasa.metrics.base import MetricColumn
from pipelines.report.metrics import all_metric_columns
from pipelines.report.rows import OutcomeRows
from pipelines.report.statistics import Bootstrap, Summary

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


@dataclass(frozen=True)
class PairedMetric:
    """One metric of two runs."""

    column: MetricColumn  # column of the metric
    theirs: Summary  # summary over all videos of the other run
    difference: Summary  # summary of this run minus the other one, over the records that have a number in both
    # ours_mean, theirs_mean: means of this run and of the other one over the same records; None if there are none
    ours_mean: float | None
    theirs_mean: float | None
    # fraction of these records for which this run is better; None if neither direction is better
    ours_better: float | None

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the interval of the difference excludes zero, otherwise `no clear difference`."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or self.column.better is None:
            return ""
        if low <= 0 <= high:
            return "no clear difference"
        return "better" if (low > 0) == (self.column.better == "higher") else "worse"


@dataclass(frozen=True)
class Comparison:
    """The comparison of a run with another one."""

    name: str  # name of the other run
    shared: int  # number of record ids that are in both runs
    pairs: list[PairedMetric]  # metrics that have numbers in at least one of the runs


def compare_runs(ours: OutcomeRows, theirs: OutcomeRows, name: str, bootstrap: Bootstrap) -> Comparison:
    """Compare all metrics of two runs."""
    # Index of each record in the other run, null if it is not there.
    matches = pc.index_in(ours.read_record_ids(), value_set=theirs.read_record_ids())
    left, right = np.flatnonzero(matches.is_valid()), matches.drop_null().to_numpy()

    columns = all_metric_columns()
    pairs = []
    for metric in dict.fromkeys([*columns, *ours.metrics, *theirs.metrics]):
        column = columns.get(metric) or MetricColumn(metric, metric, "not a metric of this version of the program")
        a, b = ours.read_metric(metric), theirs.read_metric(metric)
        if not (np.isfinite(a).any() or np.isfinite(b).any()):
            continue
        difference = a[left] - b[right]
        paired = np.isfinite(difference)
        difference = difference[paired]
        wins = difference > 0 if column.better == "higher" else difference < 0
        pairs.append(
            PairedMetric(
                column,
                bootstrap.summarize(b),
                bootstrap.summarize(difference),
                float(a[left][paired].mean()) if len(difference) else None,
                float(b[right][paired].mean()) if len(difference) else None,
                float(wins.mean()) if column.better and len(difference) else None,
            )
        )
    return Comparison(name, len(left), pairs)


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper, extended with rows for runs."""

    title: str  # title of the table
    note: str  # remark about its protocol
    # dictionaries with `title`, `unit`, `better`, `column` (name of our metric), `scale` (factor from our unit to the
    # published one) and `note`
    columns: list[dict[str, Any]]
    ours: dict[str, list[float | None]]  # values by run in the units of the table; None for missing values
    rows: list[dict[str, Any]]  # published rows with `name` and `values`


def load_published_tables(runs: Mapping[str, Mapping[str, float]]) -> list[PublishedTable]:
    """Load the tables of the JoyVASA paper and add rows for runs.

    Args:
        runs: means of the metrics by name of the run and column.
    """
    data = yaml.safe_load(resources.files("pipelines.report").joinpath("published.yaml").read_text(encoding="utf-8"))
    tables = []
    for table in data["tables"]:
        columns = [{"note": "", **data["columns"][name]} for name in table["columns"]]
        ours = {
            name: [means[c["column"]] * c["scale"] if c["column"] in means else None for c in columns]
            for name, means in runs.items()
        }
        rows = [{"name": name, "values": values} for name, values in table["rows"].items()]
        tables.append(PublishedTable(table["title"], data["note"], columns, ours, rows))
    return tables
