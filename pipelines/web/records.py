"""One page of the records of a run, selected and sorted; only its rows are read in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipelines.report.failures import MAX_CODES, FailureGroup, group_failures
from pipelines.runs.selection.candidates import Criteria, Criterion, apply_conditions
from pipelines.runs.selection.options import SelectionOptions
from pipelines.runs.selection.run_tables import name_columns
from pipelines.runs.selection.selection import add_conditions
from pipelines.web.run_rows import RunRows

pc: Any = pyarrow.compute  # creates its functions at import, which type checkers cannot see
SORTABLE = ("record_id", "status", "error_code", "duration_s", "frames", "attempts", "n_faces")


@dataclass(frozen=True)
class Query:
    """A selection of records, and an order."""

    # criteria of the selection, of which statuses and conditions are used
    options: SelectionOptions = field(default_factory=SelectionOptions)
    sort: str = ""  # column to sort by; empty for the order of the manifest
    descending: bool = False  # sort the largest values first
    page: int = 0  # number of the page, from 0


@dataclass(frozen=True)
class Page:
    """One page of records."""

    rows: list[dict[str, Any]]  # records with all their columns
    total: int  # number of selected records
    number: int  # number of the page, from 0
    pages: int  # number of pages, at least 1
    criteria: list[Criterion]  # criteria of the selection, with the number of records that each one drops


def find_records(rows: RunRows, query: Query, size: int) -> Page:
    """Return one page of records; records without a value come last in both orders.

    Args:
        rows: rows of the run, refreshed.
        query: selection, order and page; a page that does not exist becomes the last one.
        size: records per page.

    Raises:
        InputError: `condition_invalid` or `column_unknown`; `records_unreadable`.
    """
    criteria = Criteria()
    conditions = add_conditions(query.options, name_columns(rows.schema), criteria)
    sort = query.sort if query.sort in list_sort_columns(rows) else ""
    names = [name for _, condition in conditions for name in condition.columns]
    table = rows.read_columns([*names, *([sort] if sort else [])])

    positions = np.flatnonzero(apply_conditions(conditions, criteria, table) == 0)
    if sort:
        positions = _sort_positions(table.column(sort).take(positions), positions, query.descending)
    pages = max(1, -(-len(positions) // size))
    number = min(max(0, query.page), pages - 1)
    selected = positions[number * size : (number + 1) * size]
    return Page(rows.read_rows(selected.tolist()), len(positions), number, pages, criteria.applied)


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
    return [*SORTABLE, *rows.metrics]


def is_numeric(rows: RunRows, column: str) -> bool:
    """Return whether a column is numeric."""
    kind = rows.schema.field(column).type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _sort_positions(values: pa.ChunkedArray, positions: np.ndarray, descending: bool) -> np.ndarray:
    order = "descending" if descending else "ascending"
    keys: Sequence[tuple[str, str]] = [("value", order), ("position", "ascending")]
    table = pa.table({"value": values, "position": positions})
    indices = pc.sort_indices(table, sort_keys=[*keys])  # nulls come last
    return positions[indices.to_numpy()]
