"""Manifests in Parquet; passed-through columns keep their types, see `plain_types` for exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as is_type

from manifests.errors import ManifestError
from manifests.formats.block import BLOCK_ROWS, OpenFile, Reader, RowBlock, check_columns, select_extra_columns
from manifests.formats.plain_types import plain_batch, plain_schema
from manifests.schema import COLUMN_NAMES

NUMBER_COLUMNS = ("seed", "cfg_scale", "priority")


class ParquetReader(Reader):
    """Reads `.parquet`; rows are numbered from 1."""

    row_unit = "row"

    def __init__(self, name: str, open_file: OpenFile, *, required: str | None = None) -> None:
        super().__init__(name, open_file)
        with open_file() as file:
            try:
                self._schema = plain_schema(_open_parquet(file).schema_arrow)
            except UnicodeDecodeError:
                sentence = f"{name}: the name of a column is not UTF-8; expected UTF-8: rename it"
                raise ManifestError("manifest_encoding", sentence) from None
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(name, error) from None
        check_columns(name, self.columns(), required)
        for column in self._schema:
            if column.name in COLUMN_NAMES:
                _check_type(name, column)

    def columns(self) -> tuple[str, ...]:
        """See `Reader`."""
        return tuple(self._schema.names)

    def extra_schema(self) -> pa.Schema:
        """See `Reader`."""
        return pa.schema([self._schema.field(column) for column in select_extra_columns(self.columns())])

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`."""
        passed = select_extra_columns(self.columns()) if extra else ()
        columns = None if passed else [name for name in COLUMN_NAMES if name in self._schema.names]
        number = 1
        with self._open() as file:
            try:
                parquet = _open_parquet(file)
                for batch in parquet.iter_batches(BLOCK_ROWS, columns=columns):
                    yield self._block(plain_batch(batch), number, passed)
                    number += len(batch)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(self.name, error) from None

    def _block(self, batch: pa.RecordBatch, number: int, passed: tuple[str, ...]) -> RowBlock:
        columns = {name: _values(batch.column(name)) for name in COLUMN_NAMES if name in batch.schema.names}
        table = pa.Table.from_batches([batch.select(passed)]) if passed else None
        return RowBlock(list(range(number, number + len(batch))), columns, extra=table)


def _open_parquet(file: BinaryIO) -> pq.ParquetFile:
    # The 96-bit times of Spark have microseconds; as nanoseconds, times before 1677 or after 2262 would be others.
    return pq.ParquetFile(file, pre_buffer=False, coerce_int96_timestamp_unit="us")


def _values(array: pa.Array) -> list[Any]:
    try:
        return array.to_pylist()
    except UnicodeDecodeError:  # writers do not always check for UTF-8; bad bytes are reported per row
        return [_decoded(value) for value in array.cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _check_type(name: str, column: pa.Field) -> None:
    kind = column.type
    text = is_type.is_string(kind) or is_type.is_large_string(kind)
    number = is_type.is_integer(kind) or is_type.is_floating(kind)
    if text or is_type.is_null(kind):
        return
    if (number and column.name in NUMBER_COLUMNS) or (is_type.is_integer(kind) and column.name == "record_id"):
        return
    expected = "numbers" if column.name in NUMBER_COLUMNS else "text"
    sentence = f"{name}: column {column.name} is {kind}; expected {expected}: convert the column"
    raise ManifestError("manifest_columns", sentence)


def _unreadable(name: str, error: Exception) -> ManifestError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ManifestError("manifest_unreadable", f"{name}: cannot be read as Parquet ({reason}): write it again")
