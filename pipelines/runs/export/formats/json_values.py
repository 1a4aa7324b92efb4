"""Rows as JSON from which every reader infers the same types, whatever values are null."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type

from manifests.run.json_rows import JsonRows
from pipelines.runs.export.statistics import ColumnStats

NULL_COLUMNS = "null_columns"


class JsonColumns:
    """Converts rows to JSON values of one type per column.

    `datasets` infers types from the first rows and then refuses others, so that a column that is null at first fails.
    A column with both nulls and values is therefore text, a null is an empty text, and `null_columns` lists the columns
    of the row that are null, as JSON text. A column with NaN or infinite numbers is text too, because JSON has neither.
    Lists and other nested values are JSON text in any case. A column that is null in all rows stays null.

    Args:
        schema: columns of the data set.
        columns: nulls of each column over all rows of the data set.
    """

    def __init__(self, schema: pa.Schema, columns: Mapping[str, ColumnStats]) -> None:
        self.kinds = {entry.name: _choose_kind(entry.type, columns[entry.name]) for entry in schema}
        self._rows = JsonRows()

    def convert(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table."""
        for row in self._rows.convert(table):
            nulls = [name for name, value in row.items() if value is None]
            converted = {name: _convert(value, self.kinds[name]) for name, value in row.items()}
            yield {**converted, NULL_COLUMNS: json.dumps(nulls, ensure_ascii=False)}


def _choose_kind(kind: pa.DataType, stats: ColumnStats) -> str:
    """Return `same`, `text` or `json`."""
    if stats.nulls == stats.rows:
        return "same"
    if is_type.is_nested(kind):
        return "json"
    plain = is_type.is_boolean(kind) or is_type.is_integer(kind) or is_type.is_floating(kind)
    return "same" if plain and not stats.as_text else "text"


def _convert(value: Any, kind: str) -> Any:
    if kind == "same":
        return value
    if value is None:
        return ""
    if kind == "json" or isinstance(value, bool):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
