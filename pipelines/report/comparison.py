"""Runs side by side, record by record where ids match, and beside the tables of the JoyVASA paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pyarrow.compute
import yaml

from joyvasa.metrics.base import MetricColumn
from pipelines.report.metrics import known_columns
from pipelines.report.rows import RunRows
from pipelines.report.statistics import Bootstrap, Summary

pc: Any = pyarrow.compute  # makes its functions when it is imported, which type checkers do not see


@dataclass(frozen=True)
class Paired:
    """One metric of two runs.

    Args:
        column: what it is.
        theirs: over all videos of the other run.
        difference: ours less theirs, over the records that have a number in both.
        ours_better: of these records, the part in which ours is better; None where neither direction is.
    """

    column: MetricColumn
    theirs: Summary
    difference: Summary
    ours_better: float | None

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the interval of the difference leaves no doubt of its sign, `no clear difference`."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or self.column.better is None:
            return ""
        if low <= 0 <= high:
            return "no clear difference"
        return "better" if (low > 0) == (self.column.better == "higher") else "worse"


@dataclass(frozen=True)
class Comparison:
    """This run and another one.

    Args:
        name: of the other one.
        shared: record ids that both have.
        pairs: of the metrics that either has numbers of.
    """

    name: str
    shared: int
    pairs: list[Paired]


def compare(ours: RunRows, theirs: RunRows, name: str, bootstrap: Bootstrap) -> Comparison:
    """All metrics of two runs.

    Args:
        ours: rows of this run.
        theirs: rows of the other one.
        name: of the other one.
        bootstrap: for intervals.
    """
    same = pc.index_in(ours.record_ids(), value_set=theirs.record_ids())  # place in their run, null where it has none
    left, right = np.flatnonzero(same.is_valid()), same.drop_null().to_numpy()
    known = known_columns()
    pairs = []
    for metric in dict.fromkeys([*known, *ours.metrics, *theirs.metrics]):
        column = known.get(metric) or MetricColumn(metric, metric, "not a metric of this version of the program")
        a, b = ours.metric(metric), theirs.metric(metric)
        if not (np.isfinite(a).any() or np.isfinite(b).any()):
            continue
        difference = a[left] - b[right]
        difference = difference[np.isfinite(difference)]
        wins = difference > 0 if column.better == "higher" else difference < 0
        pairs.append(
            Paired(
                column,
                bootstrap.summary(b),
                bootstrap.summary(difference),
                float(wins.mean()) if column.better and len(difference) else None,
            )
        )
    return Comparison(name, len(left), pairs)


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper with our rows above its own.

    Args:
        title: of the table.
        note: what is known of its protocol.
        columns: `title`, `unit`, `better`, `column` (ours), `scale` (from ours to theirs) and `note` of each.
        ours: by run the numbers in the table's units, None where there is none.
        rows: as published: `name` and `values`.
    """

    title: str
    note: str
    columns: list[dict[str, Any]]
    ours: dict[str, list[float | None]]
    rows: list[dict[str, Any]]


def published_tables(runs: Mapping[str, Mapping[str, float]]) -> list[PublishedTable]:
    """The tables of the JoyVASA paper.

    Args:
        runs: by name, the means of each run's metrics by column.
    """
    data = yaml.safe_load(resources.files("pipelines.report").joinpath("published.yaml").read_text(encoding="utf-8"))
    tables = []
    for table in data["tables"]:
        columns = [{"note": "", **data["columns"][name]} for name in table["columns"]]
        ours = {name: _in_units_of(columns, means) for name, means in runs.items()}
        rows = [{"name": name, "values": values} for name, values in table["rows"].items()]
        tables.append(PublishedTable(table["title"], data["note"], columns, ours, rows))
    return tables


def _in_units_of(columns: Sequence[Mapping[str, Any]], means: Mapping[str, float]) -> list[float | None]:
    return [means[one["column"]] * one["scale"] if one["column"] in means else None for one in columns]
