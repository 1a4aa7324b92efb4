"""Rows as JSON from which every reader infers the same types, whatever values are null."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type

from manifests.run.json_rows import JsonRows
from pipelines.runs.export.statistics import ColumnStats

MAX_EXACT = 2**53  # largest whole number up to which float64 holds all of them
NULL_COLUMNS = "null_columns"


class JsonColumns:
    """Converts rows to JSON values of one type per column.

    `datasets` infers types from the first rows and then refuses others, so that a column that is null at first fails.
    In a column with both nulls and values, a null is therefore written as NaN among numbers and as an empty text among
    texts, and `null_columns` lists the columns of the row that are null, as JSON text. Whole numbers in such a column
    become floating-point numbers, or text if these could not hold them; truth values become text. Lists and other
    nested values are JSON text in any case. A column that is null in all rows stays null.

    Args:
        schema: columns of the data set.
        columns: nulls of each column over all rows of the data set.
    """

    def __init__(self, schema: pa.Schema, columns: Mapping[str, ColumnStats]) -> None:
        self.kinds = {entry.name: _choose_kind(entry.type, columns[entry.name]) for entry in schema}
        self._rows = JsonRows()

    def convert(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table."""
        floats = {
            entry.name: table.column(entry.name).to_pylist()
            for entry in table.schema
            if is_type.is_floating(entry.type)
        }
        for index, row in enumerate(self._rows.convert(table)):
            row |= {name: values[index] for name, values in floats.items()}  # `JsonRows` writes NaN as text
            nulls = [name for name, value in row.items() if value is None]
            converted = {name: _convert(value, self.kinds[name]) for name, value in row.items()}
            yield {**converted, NULL_COLUMNS: json.dumps(nulls, ensure_ascii=False)}


def _choose_kind(kind: pa.DataType, stats: ColumnStats) -> str:
    """Return `same`, `number`, `text` or `json`."""
    if stats.nulls == stats.rows:
        return "same"
    if is_type.is_nested(kind):
        return "json"
    if is_type.is_integer(kind):
        return "same" if not stats.mixed else "number" if stats.largest <= MAX_EXACT else "text"
    if is_type.is_floating(kind):
        return "number"
    return "text" if stats.mixed or not is_type.is_boolean(kind) else "same"


def _convert(value: Any, kind: str) -> Any:
    if kind == "same":
        return value
    if kind == "json":
        return "" if value is None else json.dumps(value, ensure_ascii=False)
    if kind == "number":
        return math.nan if value is None else float(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
