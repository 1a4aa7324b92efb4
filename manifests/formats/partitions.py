"""Columns in the names of folders: `mode=human/part-0.parquet`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import unquote

import pyarrow as pa

from manifests.formats.block import Reader, RowBlock
from manifests.schema import COLUMN_NAMES

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # value that Hive and Spark write for null


def parse_partitions(path: str) -> dict[str, str | None]:
    """Return the columns in the folders of a relative path, with their values."""
    pairs = (folder.partition("=") for folder in posixpath.dirname(path).split("/") if "=" in folder)
    return {unquote(name): None if value == NO_VALUE else unquote(value) for name, _, value in pairs}


class PartitionReader(Reader):
    """Adds the columns of its folders to the rows of a file; a value in a row has precedence.

    Args:
        reader: reader of the file.
        values: values by column.
    """

    def __init__(self, reader: Reader, values: Mapping[str, str | None]) -> None:
        super().__init__(reader.name, reader._open)
        self.row_unit, self.holds_media = reader.row_unit, reader.holds_media
        self._reader = reader
        self.notes = reader.notes
        self._standard = {name: value for name, value in values.items() if name in COLUMN_NAMES}
        self._extra = {name: value for name, value in values.items() if name not in COLUMN_NAMES}

    def columns(self) -> tuple[str, ...] | None:
        """See `Reader`."""
        columns = self._reader.columns()
        return None if columns is None else tuple(dict.fromkeys([*columns, *self._standard, *self._extra]))

    def extra_schema(self) -> pa.Schema:
        """See `Reader`; text in the columns of the folders."""
        schema = self._reader.extra_schema()
        return pa.schema([*schema, *((name, pa.string()) for name in self._extra if name not in schema.names)])

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`."""
        for block in self._reader.blocks(extra=extra):
            columns = dict(block.columns)
            for name, value in self._standard.items():
                written = columns.get(name) or [None] * len(block)
                columns[name] = [value if entry in (None, "") else entry for entry in written]

            table = block.extra
            for name, value in self._extra.items() if extra else ():
                if table is None or not table.num_columns:
                    table = pa.table({name: pa.array([value] * len(block), pa.string())})
                elif name not in table.column_names:
                    table = table.append_column(name, pa.array([value] * len(block), pa.string()))
            yield replace(block, columns=columns, extra=table)
