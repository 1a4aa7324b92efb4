"""Manifests in Parquet: types are kept, and a shard is found again by its row group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as is_type

from manifests.errors import ManifestError
from manifests.formats.block import BLOCK_ROWS, Block, Open, Reader, Span, check_columns, extra_columns
from manifests.schema import NAMES

NUMBERS = ("seed", "cfg_scale", "priority")


class ParquetReader(Reader):
    """Reads `.parquet`. Rows are counted from 1, as a table viewer shows them."""

    counted = "row"

    def __init__(self, name: str, open_file: Open) -> None:
        super().__init__(name, open_file)
        with open_file() as file:
            try:
                parquet = pq.ParquetFile(file)
                self._schema: pa.Schema = parquet.schema_arrow
                groups = range(parquet.metadata.num_row_groups)
                self._group_rows = [parquet.metadata.row_group(group).num_rows for group in groups]
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(name, error) from None
        check_columns(name, self.columns())
        for column in self._schema:
            if column.name in NAMES:
                _check_type(name, column)

    def columns(self) -> tuple[str, ...]:
        """See `Reader`."""
        return tuple(self._schema.names)

    def extra_schema(self) -> pa.Schema:
        """See `Reader`."""
        return pa.schema([self._schema.field(column) for column in extra_columns(self.columns())])

    def blocks(self, span: Span | None = None, extra: pa.Schema | None = None) -> Iterator[Block]:
        """See `Reader`. A span is read from the beginning of its row group, and not behind its end."""
        span = span or Span(0, 0, -1, 1, sum(self._group_rows))
        columns = None if extra else [name for name in NAMES if name in self._schema.names]
        skip, left, number = span.offset, span.rows, span.first_row
        with self._open() as file:
            try:
                parquet = pq.ParquetFile(file, pre_buffer=False)
                for group in range(span.row_group, len(self._group_rows)):
                    offset = 0
                    for batch in parquet.iter_batches(BLOCK_ROWS, row_groups=[group], columns=columns):
                        if not left:
                            return
                        cut = min(skip, len(batch))
                        part = batch.slice(cut, left)
                        if len(part):
                            yield self._block(part, group, offset + cut, number, extra)
                        skip, left, number = skip - cut, left - len(part), number + len(part)
                        offset += len(batch)
                    skip = 0
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(self.name, error) from None

    def _block(self, batch: pa.RecordBatch, group: int, offset: int, number: int, extra: pa.Schema | None) -> Block:
        known = {name: _values(batch.column(name)) for name in NAMES if name in batch.schema.names}
        rows = len(batch)
        table = pa.Table.from_batches([batch.select(extra.names)]) if extra else None
        starts = list(range(offset, offset + rows))
        return Block(list(range(number, number + rows)), starts, offset + rows, known, row_group=group, extra=table)


def _values(array: pa.Array) -> list[Any]:
    try:
        return array.to_pylist()
    except UnicodeDecodeError:  # Parquet does not hold writers to UTF-8; the bytes are reported row by row
        return [_decoded(value) for value in array.cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _check_type(name: str, column: pa.Field) -> None:
    kind = column.type.value_type if is_type.is_dictionary(column.type) else column.type
    text = is_type.is_string(kind) or is_type.is_large_string(kind) or is_type.is_string_view(kind)
    number = is_type.is_integer(kind) or is_type.is_floating(kind)
    if text or is_type.is_null(kind):
        return
    if (number and column.name in NUMBERS) or (is_type.is_integer(kind) and column.name == "record_id"):
        return
    expected = "numbers" if column.name in NUMBERS else "text"
    sentence = f"{name}: column {column.name} is {column.type}; expected {expected}: convert the column"
    raise ManifestError("manifest_columns", sentence)


def _unreadable(name: str, error: Exception) -> ManifestError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ManifestError("manifest_unreadable", f"{name}: cannot be read as Parquet ({reason}): write it again")
