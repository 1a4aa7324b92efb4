"""Figures of a data set, computed while its rows are planned, in constant memory."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as is_type

from manifests.run.outcome_table import METRIC_COLUMN_PREFIX, METRIC_REASONS

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
INTERVAL_Z = 1.96  # 95 % of a normal distribution
MAX_VALUES = 200  # distinct values that are counted of each column
OTHER = "(others)"  # stands for all further values
MAX_METRIC = 1e140  # larger values, whose squares have no finite sum, are damaged
NOT_STATED = "(not stated)"


@dataclass
class Moments:
    """Number, mean and spread of values, updated with each batch (Chan, Golub and LeVeque, 1983)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared differences from the mean
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: np.ndarray) -> None:
        """Add finite values."""
        if not len(values):
            return
        mean, n = float(values.mean()), self.n + len(values)
        delta = mean - self.mean
        self.squares += float(((values - mean) ** 2).sum()) + delta**2 * self.n * len(values) / n
        self.mean += delta * len(values) / n
        self.n = n
        self.minimum, self.maximum = min(self.minimum, float(values.min())), max(self.maximum, float(values.max()))

    @property
    def half_width(self) -> float | None:
        """Half of the normal 95 % interval of the mean; None for fewer than two values."""
        return INTERVAL_Z * math.sqrt(self.squares / (self.n - 1) / self.n) if self.n > 1 else None


@dataclass
class ColumnStats:
    """Values of a column that decide how JSON holds it."""

    rows: int = 0
    nulls: int = 0
    infinite: int = 0  # numbers that are infinite or NaN

    @property
    def as_text(self) -> bool:
        """Whether JSON has no values of one type for all rows: some are null and others are not, or not finite."""
        return 0 < self.nulls < self.rows or self.infinite > 0


@dataclass
class SplitStats:
    """Size of a split."""

    records: int = 0
    duration_s: float = 0.0
    frames: int = 0
    bytes: int = 0
    shards: int = 0


@dataclass
class DatasetStatistics:
    """Figures of all exported rows."""

    splits: dict[str, SplitStats] = field(default_factory=dict)  # sizes by split
    metrics: dict[str, Moments] = field(default_factory=dict)  # moments by metric
    columns: dict[str, ColumnStats] = field(default_factory=lambda: defaultdict(ColumnStats))  # nulls by column
    licenses: Counter[str] = field(default_factory=Counter)  # records by license of the weights
    bundles: Counter[str] = field(default_factory=Counter)  # records by model bundle
    # records by column and license that the rows state for their sources
    source_licenses: dict[str, Counter[str]] = field(default_factory=dict)
    missing_inputs: Counter[str] = field(default_factory=Counter)  # portraits and recordings without a readable file

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(split.records for split in self.splits.values())

    @property
    def duration_s(self) -> float:
        """Seconds of video."""
        return sum(split.duration_s for split in self.splits.values())

    def add(self, table: pa.Table, license_columns: Iterable[str]) -> None:
        """Count rows of the data set.

        Args:
            table: rows with the columns of the data set.
            license_columns: columns with licenses of sources.
        """
        for name in table.column_names:
            self._add_column(name, table.column(name))
        if "licenses" in table.column_names and is_type.is_list(table.schema.field("licenses").type):
            _count(self.licenses, pc.list_flatten(table.column("licenses")))
        if "bundle" in table.column_names:
            _count(self.bundles, table.column("bundle").drop_null())
        for name in license_columns:
            column = table.column(name)
            _count(self.source_licenses.setdefault(name, Counter()), pc.fill_null(column, NOT_STATED))

    def _add_column(self, name: str, column: pa.ChunkedArray) -> None:
        stats, kind = self.columns[name], column.type
        stats.rows += len(column)
        stats.nulls += column.null_count
        if not is_type.is_floating(kind):
            return
        stats.infinite += pc.sum(pc.invert(pc.is_finite(column))).as_py() or 0
        if name.startswith(METRIC_COLUMN_PREFIX) and name != METRIC_REASONS:
            values = column.drop_null().to_numpy().astype(np.float64)
            moments = self.metrics.setdefault(name.removeprefix(METRIC_COLUMN_PREFIX), Moments())
            moments.add(values[np.abs(values) < MAX_METRIC])


def _count(counter: Counter[str], column: Any) -> None:
    for entry in pc.value_counts(column).to_pylist():
        name = str(entry["values"]).strip() or NOT_STATED
        counter[name if name in counter or len(counter) < MAX_VALUES else OTHER] += entry["counts"]
