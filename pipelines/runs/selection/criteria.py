"""Criteria of a selection: which rows each one drops, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass
class Criterion:
    """One criterion and its effect."""

    label: str  # criterion in short, for tables
    reason: str  # why rows that do not meet it are dropped
    missing_reason: str  # why rows are dropped for which it is undecided, because a value is missing
    before: int = 0  # number of rows that met all earlier criteria
    dropped: int = 0  # number of rows that do not meet it
    missing: int = 0  # number of dropped rows for which it is undecided

    def as_dict(self) -> dict[str, Any]:
        """Return label and counts, for JSON."""
        values = asdict(self)
        return {name: values[name] for name in ("label", "before", "dropped", "missing")}


@dataclass
class Criteria:
    """Criteria in the order in which they apply; a row is dropped by the first that it does not meet."""

    applied: list[Criterion] = field(default_factory=list)

    def add(self, criterion: Criterion) -> int:
        """Add a criterion and return its index."""
        self.applied.append(criterion)
        return len(self.applied) - 1

    def drop(self, index: int, codes: np.ndarray, failed: np.ndarray, missing: np.ndarray) -> None:
        """Apply a criterion to rows that met the earlier ones.

        Args:
            index: index of the criterion.
            codes: code of each row, 0 for rows that met all criteria so far; int16, modified in place.
            failed: whether each row does not meet the criterion.
            missing: whether the criterion is undecided for each row.
        """
        remaining = codes == 0
        failed, missing = failed & remaining & ~missing, missing & remaining
        codes[failed], codes[missing] = 2 * index + 1, 2 * index + 2

        criterion = self.applied[index]
        criterion.before += int(np.count_nonzero(remaining))
        criterion.missing += int(np.count_nonzero(missing))
        criterion.dropped += int(np.count_nonzero(failed) + np.count_nonzero(missing))

    @property
    def reasons(self) -> list[str]:
        """Reasons by code; the reason of code 0 is empty."""
        return ["", *(reason for one in self.applied for reason in (one.reason, one.missing_reason))]


def order_rows(ranks: np.ndarray | None, rows: np.ndarray, *, ascending: bool) -> np.ndarray:
    """Return rows in the order of their ranks; those without a rank come last, and ties in the order of the rows.

    Args:
        ranks: rank of each row, NaN for missing ones, float64; None for the order of the rows.
        rows: indices of rows, increasing.
        ascending: whether low ranks come first.
    """
    if ranks is None:
        return rows
    keys = ranks[rows] if ascending else -ranks[rows]
    return rows[np.argsort(keys, kind="stable")]  # NaN comes last


def find_repeated(order: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the rows whose key occurred before in an order; rows with key 0 are not compared.

    Args:
        order: indices of rows, in order of preference.
        keys: key of each row, uint64.
    """
    order = order[keys[order] != 0]
    _, first = np.unique(keys[order], return_index=True)
    return np.delete(order, first)


def find_excess(order: np.ndarray, limits: Mapping[str, int], keys: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return the rows that exceed limits per value, by the column of the limit that they exceed first.

    A row counts towards the limits of all columns only if it exceeds none.

    Args:
        order: indices of rows, in order of preference.
        limits: largest number of rows with one value, by column.
        keys: key of each row by column, uint64.
    """
    excess: dict[str, list[int]] = {column: [] for column in limits}
    counters = []
    for column, limit in limits.items():
        distinct, codes = np.unique(keys[column][order], return_inverse=True)
        counters.append((column, limit, codes.tolist(), [0] * len(distinct)))

    for position, row in enumerate(order.tolist()):
        for column, limit, codes, counts in counters:
            if counts[codes[position]] >= limit:
                excess[column].append(row)
                break
        else:
            for _, _, codes, counts in counters:
                counts[codes[position]] += 1
    return excess
