"""Column types for JSON values, found while the lines stream by."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from manifests.errors import ManifestError
from manifests.schema import MAX_COLUMNS

# A column whose values have no common type (or are lists and objects) is passed through as JSON text.
ARROW_TYPES = {
    "null": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "json": pa.string(),
}
JSON_TEXT = {b"joyvasa.content": b"json"}  # marks a field whose text is JSON


class JsonTypes:
    """The narrowest type that holds all values seen in a column.

    Args:
        name: of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._kinds: dict[str, str] = {}

    def observe(self, column: str, value: object) -> bool:
        """Takes one value in; False where the name cannot be a column's.

        Raises:
            ManifestError: `manifest_columns` where the names are without end.
        """
        found = _kind(value)
        known = self._kinds.get(column)
        if known is None:
            if not _is_text(column):
                return False
            if len(self._kinds) == MAX_COLUMNS:
                sentence = f"{self._name}: has more than {MAX_COLUMNS} columns: put what varies into values, not names"
                raise ManifestError("manifest_columns", sentence)
            self._kinds[column] = found
        elif found not in (known, "null"):
            both = {known, found}
            self._kinds[column] = found if known == "null" else "number" if both == {"integer", "number"} else "json"
        return True

    def schema(self) -> pa.Schema:
        """The columns seen so far, by name."""
        return pa.schema(
            [
                pa.field(column, ARROW_TYPES[kind], metadata=JSON_TEXT if kind == "json" else None)
                for column, kind in sorted(self._kinds.items())
            ]
        )


def json_array(values: list[Any], field: pa.Field) -> pa.Array:
    """JSON values as the column that `JsonTypes.schema` describes."""
    if field.metadata == JSON_TEXT:
        values = [None if value is None else json.dumps(value, sort_keys=True) for value in values]
    elif field.type == pa.string():
        values = [None if value is None else value.encode(errors="replace").decode() for value in values]
    return pa.array(values, field.type)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "json"
    return "number" if isinstance(value, float) else "json"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
