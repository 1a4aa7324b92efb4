"""One page of the records of a run: filtered, sorted, and only these read in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from manifests.run.outcome_table import METRIC
from pipelines.report.failures import MAX_CODES, FailureGroup, failure_groups
from pipelines.web.run_parts import RunParts

pc: Any = pyarrow.compute  # makes its functions when it is imported, which type checkers do not see
SORTABLE = ("record_id", "status", "error_code", "duration_s", "frames", "attempts", "n_faces")


@dataclass(frozen=True)
class Query:
    """Which records are wanted.

    Attributes:
        text: that their id contains, in any case.
        status: of them; empty for all.
        code: of their error, or of one of their warnings; empty for all.
        sort: a column; empty for the order of the manifest.
        descending: whether the largest come first.
        low, high: bounds of the column that is sorted by, where that holds numbers.
        page: from 0.
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
    """Records that are shown together.

    Attributes:
        rows: with all their columns.
        total: records that fit the query.
        number: of the page, from 0.
        pages: at least 1.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    number: int = 0
    pages: int = 1


def find_records(parts: RunParts, query: Query, size: int) -> Page:
    """One page of records; records without a value come last, whichever way they are sorted.

    Args:
        parts: of the run, refreshed.
        query: which records, and which page; one that is too high becomes the last.
        size: records on a page.
    """
    places = _matching(parts, query)
    pages = max(1, -(-len(places) // size))
    number = min(max(0, query.page), pages - 1)
    shown = places[number * size : (number + 1) * size]
    return Page(parts.rows(shown.tolist()), len(places), number, pages)


def failures(parts: RunParts) -> list[FailureGroup]:
    """Group failures by status, stage and code, the most frequent first, with examples."""
    if not parts.statuses.total() - parts.statuses["ok"]:
        return []
    table = parts.table(["status", "stage", "error_code"]).rename_columns(["status", "stage", "code"])
    table = table.append_column("place", pa.array(np.arange(table.num_rows)))
    return failure_groups(table.filter(pc.not_equal(table.column("status"), "ok")), "error", parts.rows)


def codes(parts: RunParts) -> list[str]:
    """Codes of errors and warnings, those of errors first."""
    table = parts.table(["error_code", "warning_codes"])
    found: list[str] = []
    for name in table.column_names:
        for text in pc.unique(table.column(name)).to_pylist():
            found += sorted(text.split(",")) if text else []
    return list(dict.fromkeys(found))[:MAX_CODES]


def sort_columns(parts: RunParts) -> list[str]:
    """Columns that records can be sorted by."""
    return [*(name for name in SORTABLE if name in parts.columns), *parts.metrics]


def is_number(parts: RunParts, column: str) -> bool:
    """Whether a column holds numbers."""
    kind = parts.columns.get(column)
    return column.startswith(METRIC) or (kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind)))


def _matching(parts: RunParts, query: Query) -> np.ndarray:
    """Places of the records that fit, in order."""
    sort = query.sort if query.sort in sort_columns(parts) else ""
    wanted = {"record_id": query.text, "status": query.status, "error_code": query.code, "warning_codes": query.code}
    names = [name for name, value in wanted.items() if value and name in parts.columns]
    table = parts.table([*names, *([sort] if sort else [])])
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
    if sort and is_number(parts, sort):
        values = table.column(sort)
        masks += [pc.greater_equal(values, query.low)] if query.low is not None else []
        masks += [pc.less_equal(values, query.high)] if query.high is not None else []
    kept = np.ones(sum(part.n_rows for part in parts.parts), bool)
    for mask in masks:
        kept &= pc.fill_null(mask, False).to_numpy()
    places = np.flatnonzero(kept)
    return _sorted(table.column(sort).take(places), places, query.descending) if sort else places


def _any_equal(lists: pa.ChunkedArray, code: str, n_rows: int) -> pa.Array:
    found = np.zeros(n_rows, bool)
    same = pc.equal(pc.list_flatten(lists), code).to_numpy(zero_copy_only=False)
    found[pc.list_parent_indices(lists).to_numpy()[same]] = True
    return pa.array(found)


def _sorted(values: pa.ChunkedArray, places: np.ndarray, descending: bool) -> np.ndarray:
    order = "descending" if descending else "ascending"
    keys: Sequence[tuple[str, str]] = [("value", order), ("place", "ascending")]
    table = pa.table({"value": values, "place": places})
    indices = pc.sort_indices(table, sort_keys=[*keys])  # nulls come last
    return places[indices.to_numpy()]
