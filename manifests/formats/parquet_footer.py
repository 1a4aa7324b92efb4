"""Null counts from the footer of a Parquet file.

Arrow checks the metadata of a column chunk when it is asked for it, and its Python binding does not catch the exception
that reports damage: `metadata.row_group(n).column(m)` and filters of `pyarrow.dataset` end the process. This module
therefore decodes that part of the footer itself. What Arrow's readers of rows check raises an `ArrowException`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

MAGIC_BYTES = 4  # before the metadata
# Types and fields of the footer, see parquet.thrift of the Parquet format.
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
ROW_GROUPS, COLUMNS, COLUMN_METADATA, STATISTICS, NULL_COUNT = 4, 1, 3, 12, 3


def read_null_counts(metadata: pq.FileMetaData, columns: Sequence[int]) -> list[list[int | None]]:
    """Return the number of nulls in each row group, for each column; None where the file does not state it.

    Args:
        metadata: footer of the file.
        columns: indices of leaf columns.
    """
    content = io.BytesIO()
    metadata.write_metadata_file(content)  # well-formed even if the numbers in the file are damaged
    groups = _CompactDecoder(content.getbuffer(), MAGIC_BYTES).read_struct().get(ROW_GROUPS, [])
    return [[_find_null_count(group.get(COLUMNS, []), column) for group in groups] for column in columns]


def _find_null_count(columns: list[dict[int, Any]], column: int) -> int | None:
    if column >= len(columns):
        return None
    return columns[column].get(COLUMN_METADATA, {}).get(STATISTICS, {}).get(NULL_COUNT)


class _CompactDecoder:
    """Decodes the compact protocol of Thrift: structs as dictionaries by field id, sets as lists; maps are skipped."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at

    def read_struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        field = 0
        while (header := self._read_byte()) != STOP:
            field = field + (header >> 4) if header >> 4 else self._read_integer()
            kind = header & 15
            fields[field] = kind == TRUE if kind in (TRUE, FALSE) else self._read_value(kind)
        return fields

    def _read_value(self, kind: int) -> Any:
        if kind == BYTE or kind in (TRUE, FALSE):  # of a list; booleans of a struct have no byte of their own
            return self._read_byte()
        if kind == DOUBLE:
            self._at += 8
            return None
        if kind == BINARY:
            size = self._read_unsigned()
            self._at += size
            return None
        if kind in (LIST, SET):
            header = self._read_byte()
            size = header >> 4 if header >> 4 < 15 else self._read_unsigned()
            return [self._read_value(header & 15) for _ in range(size)]
        if kind == MAP:
            if size := self._read_unsigned():
                kinds = self._read_byte()
                for _ in range(size):
                    self._read_value(kinds >> 4)
                    self._read_value(kinds & 15)
            return None
        return self.read_struct() if kind == STRUCT else self._read_integer()

    def _read_byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _read_unsigned(self) -> int:
        value = shift = 0
        while (byte := self._read_byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def _read_integer(self) -> int:
        """Read an integer in zigzag form."""
        value = self._read_unsigned()
        return value >> 1 ^ -(value & 1)
