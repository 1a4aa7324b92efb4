"""One page of the records of a run, filtered and sorted; only its rows are read in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from manifests.run.outcome_table import METRIC_COLUMN_PREFIX
from pipelines.report.failures import MAX_CODES, FailureGroup, group_failures
from pipelines.web.run_rows import RunRows

pc: Any = pyarrow.compute  # creates its functions at import, which type checkers cannot see
SORTABLE = ("record_id", "status", "error_code", "duration_s", "frames", "attempts", "n_faces")


@dataclass(frozen=True)
class Query:
    """A filter and an order of records.

    Attributes:
        text: text that the record id contains, ignoring case.
        status: status to select; empty for all.
        code: code of an error or a warning to select; empty for all.
        sort: column to sort by; empty for the order of the manifest.
        descending: sort the largest values first.
        low, high: bounds of the sorted column, if it is numeric.
        page: number of the page, from 0.
    """

    text: str = ""
    status: str = ""
    code: str = ""
    sort: str = ""
    descending: bool = False
    low: float | None = None
    high: float | None = None
    page: int = 0


@dataclass(frozen=True)
class Page:
    """One page of records.

    Attributes:
        rows: records with all their columns.
        total: number of records that match the query.
        number: number of the page, from 0.
        pages: number of pages, at least 1.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    number: int = 0
    pages: int = 1


def find_records(rows: RunRows, query: Query, size: int) -> Page:
    """Return one page of records; records without a value come last in both orders.

    Args:
        rows: rows of the run, refreshed.
        query: filter, order and page; a page that does not exist becomes the last one.
        size: records per page.
    """
    positions = _matching_positions(rows, query)
    pages = max(1, -(-len(positions) // size))
    number = min(max(0, query.page), pages - 1)
    selected = positions[number * size : (number + 1) * size]
    return Page(rows.read_rows(selected.tolist()), len(positions), number, pages)


def collect_failures(rows: RunRows) -> list[FailureGroup]:
    """Group failures by status, stage and code, the most frequent first, with examples."""
    if not rows.statuses.total() - rows.statuses["ok"]:
        return []
    table = rows.read_columns(["status", "stage", "error_code"]).rename_columns(["status", "stage", "code"])
    table = table.append_column("row_index", pa.array(np.arange(table.num_rows)))
    return group_failures(table.filter(pc.not_equal(table.column("status"), "ok")), "error", rows.read_rows)


def list_codes(rows: RunRows) -> list[str]:
    """Return the codes of errors, then those of warnings."""
    table = rows.read_columns(["error_code", "warning_codes"])
    result: list[str] = []
    for name in table.column_names:
        for text in pc.unique(table.column(name)).to_pylist():
            result += sorted(text.split(",")) if text else []
    return list(dict.fromkeys(result))[:MAX_CODES]


def list_sort_columns(rows: RunRows) -> list[str]:
    """Return the columns that records can be sorted by."""
    return [*(name for name in SORTABLE if name in rows.columns), *rows.metrics]


def is_numeric(rows: RunRows, column: str) -> bool:
    """Return whether a column is numeric."""
    kind = rows.columns.get(column)
    return column.startswith(METRIC_COLUMN_PREFIX) or (
        kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    )


def _matching_positions(rows: RunRows, query: Query) -> np.ndarray:
    """Return the positions of the records that match, in order."""
    sort = query.sort if query.sort in list_sort_columns(rows) else ""
    filters = {"record_id": query.text, "status": query.status, "error_code": query.code, "warning_codes": query.code}
    names = [name for name, value in filters.items() if value and name in rows.columns]
    table = rows.read_columns([*names, *([sort] if sort else [])])

    masks: list[Any] = []
    if query.text:
        masks.append(pc.match_substring(table.column("record_id"), query.text, ignore_case=True))
    if query.status:
        masks.append(pc.equal(table.column("status"), query.status))
    if query.code:
        mask = pc.fill_null(pc.equal(table.column("error_code"), query.code), False)
        if "warning_codes" in names:
            listed = pc.split_pattern(pc.fill_null(table.column("warning_codes"), ""), ",")
            mask = pc.or_(mask, _any_equal(listed, query.code, table.num_rows))
        masks.append(mask)
    if sort and is_numeric(rows, sort):
        values = table.column(sort)
        masks += [pc.greater_equal(values, query.low)] if query.low is not None else []
        masks += [pc.less_equal(values, query.high)] if query.high is not None else []

    matches = np.ones(sum(shard.n_rows for shard in rows.shards), bool)
    for mask in masks:
        matches &= pc.fill_null(mask, False).to_numpy()
    positions = np.flatnonzero(matches)
    return _sort_positions(table.column(sort).take(positions), positions, query.descending) if sort else positions


def _any_equal(lists: pa.ChunkedArray, code: str, n_rows: int) -> pa.Array:
    matches = np.zeros(n_rows, bool)
    same = pc.equal(pc.list_flatten(lists), code).to_numpy(zero_copy_only=False)
    matches[pc.list_parent_indices(lists).to_numpy()[same]] = True
    return pa.array(matches)


def _sort_positions(values: pa.ChunkedArray, positions: np.ndarray, descending: bool) -> np.ndarray:
    order = "descending" if descending else "ascending"
    keys: Sequence[tuple[str, str]] = [("value", order), ("position", "ascending")]
    table = pa.table({"value": values, "position": positions})
    indices = pc.sort_indices(table, sort_keys=[*keys])  # nulls come last
    return positions[indices.to_numpy()]
