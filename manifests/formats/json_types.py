"""Inference of column types from JSON values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from joyvasa.runtime.json_text import format_json
from manifests.problems import ManifestError
from manifests.schema import MAX_COLUMNS

# A column of lists or objects, or without a common type, is passed through as JSON text.
ARROW_TYPES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "long": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "json": pa.string(),
}
# Types that hold the values of two others. A double does not hold integers beyond 2^53, called `long`.
_COMMON_KINDS = {frozenset({"integer", "number"}): "number", frozenset({"integer", "long"}): "long"}
JSON_TEXT = {b"joyvasa.content": b"json"}  # metadata of a field whose text is JSON


class JsonTypes:
    """Infers the narrowest type of each column from its values."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kinds: dict[str, str] = {}

    def observe(self, column: str, value: object) -> bool:
        """Update the type of a column with a value; return False if the name is not valid text.

        Raises:
            ManifestError: `manifest_columns` if there are too many columns.
        """
        kind = _kind(value)
        previous = self._kinds.get(column)
        if previous is None:
            if not _is_text(column):
                return False
            if len(self._kinds) == MAX_COLUMNS:
                sentence = f"{self._name}: has more than {MAX_COLUMNS} columns: put what varies into values, not names"
                raise ManifestError("manifest_columns", sentence)
            self._kinds[column] = kind
        elif previous == "null":
            self._kinds[column] = kind
        elif kind not in (previous, "null"):
            self._kinds[column] = _COMMON_KINDS.get(frozenset({previous, kind}), "json")
        return True

    def schema(self) -> pa.Schema:
        """Return the schema of the columns so far, sorted by name."""
        return pa.schema(
            [
                pa.field(column, ARROW_TYPES[kind], metadata=JSON_TEXT if kind == "json" else None)
                for column, kind in sorted(self._kinds.items())
            ]
        )


def build_json_array(values: list[Any], field: pa.Field) -> pa.Array:
    """Convert JSON values to a column of `JsonTypes.schema`."""
    if field.metadata == JSON_TEXT:
        values = [None if value is None else format_json(value, sort_keys=True) for value in values]
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
        if abs(value) <= 2**53:
            return "integer"
        return "long" if -(2**63) <= value < 2**63 else "json"
    return "number" if isinstance(value, float) else "json"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
