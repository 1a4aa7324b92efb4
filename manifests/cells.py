"""Media in the cells of tables: the form of their locations, and how workers read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pyarrow.types as is_type

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
SCHEME = "cell"  # cell://COLUMN/ROW::TABLE; the rows of a file are numbered from 1
# Cells of a Parquet file cannot be found without decoding the row group up to them. A worker therefore reads this many
# bytes of consecutive cells at once: usually a whole row group, as that of 100 pictures has some ten MB.
WINDOW_BYTES = 256 << 20
BATCH_CELLS = 16  # decoded at once


def cell_location(column: str, row: int, table: str) -> str:
    """Return the location of the media in a cell.

    Args:
        column: name of the column, which holds binary values or a struct with the field `bytes`.
        row: number of the row in the file, counted from 1.
        table: location of the Parquet or Arrow file.
    """
    return f"{SCHEME}://{quote(column, safe='')}/{row}::{table}"


def read_cells(path: Path, member: str) -> Iterator[tuple[str, memoryview]]:
    """Yield the media of a cell and of others that were read on the way, with their members.

    Args:
        path: local Parquet or Arrow file.
        member: `COLUMN/ROW`.

    Raises:
        LookupError: there is no such cell.
        pa.ArrowException, OSError, ValueError: the file cannot be read.
    """
    name, _, number = member.rpartition("/")
    column = unquote(name)
    if not number.isascii() or not number.isdecimal():
        raise LookupError(f"{member} names no cell")
    index = int(number) - 1
    with path.open("rb") as file:
        magic = file.read(4)
    cells = _read_parquet(path, column, index) if magic == b"PAR1" else _read_arrow(path, column, index)
    for position, content in cells:
        yield f"{name}/{position + 1}", content


def iterate_arrow(source: Any) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file, in the form of a stream or of a file.

    Args:
        source: the file; if it is mapped into memory, bytes of media are not read.

    Raises:
        pa.ArrowException: the file cannot be read.
        OSError: the file cannot be read.
    """
    reader = open_arrow(source)
    if isinstance(reader, pa.RecordBatchFileReader):
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from reader


def check_offsets(batch: pa.RecordBatch) -> None:
    """Check that all offsets in a mapped batch lie inside of its data; Arrow itself would read beyond it, and crash.

    Raises:
        pa.ArrowException: the batch is damaged.
    """
    for column in batch.columns:
        _check_array(column)


def _check_array(array: Any) -> None:
    if is_type.is_struct(array.type):
        array.validate()
        for number in range(array.type.num_fields):
            _check_array(array.field(number))
        return
    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    if kind := as_bytes.get(array.type):  # text that is not UTF-8 is a problem of its row alone
        array.validate()
        array = array.view(kind)
    array.validate(full=True)


def open_arrow(source: Any) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    """Open an Arrow file in the form of a stream or of a file."""
    magic = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


def media_values(array: Any) -> Any:
    """Return the binary values of a column of media: of the field `bytes` if it is a struct.

    Raises:
        LookupError: the column holds no media.
    """
    values = pc.struct_field(array, "bytes") if is_type.is_struct(array.type) else array
    if not is_binary(values.type):
        raise LookupError(f"it has values of type {values.type}")
    return values


def is_binary(kind: Any) -> bool:
    """Return whether the values of an Arrow type are bytes."""
    return is_type.is_binary(kind) or is_type.is_large_binary(kind) or is_type.is_binary_view(kind)


def _read_parquet(path: Path, column: str, index: int) -> Iterator[tuple[int, memoryview]]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        metadata = file.metadata
        kind = file.schema_arrow.field(column).type
        leaf = f"{column}.bytes" if is_type.is_struct(kind) else column
        start = 0
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if start <= index < start + rows:
                break
            start += rows
        else:
            raise LookupError(f"it has {metadata.num_rows} rows")

        n_bytes = metadata.row_group(group).total_byte_size  # of all columns; see `parquet_footer` for why not of one
        window = max(1, min(rows, rows * WINDOW_BYTES // max(n_bytes, 1)))
        first = start + (index - start) // window * window
        for batch in file.iter_batches(BATCH_CELLS, row_groups=[group], columns=[leaf], use_threads=False):
            if start + len(batch) > first:
                for position, value in enumerate(media_values(batch.column(0)), start):
                    if first <= position < first + window and value.is_valid:
                        yield position, memoryview(value.as_buffer())
            start += len(batch)
            if start >= first + window:
                return


def _read_arrow(path: Path, column: str, index: int) -> Iterator[tuple[int, memoryview]]:
    start = 0
    with pa.memory_map(str(path)) as source:
        for batch in iterate_arrow(source):
            if start <= index < start + len(batch):
                check_offsets(batch.select([column]))
                value = media_values(batch.column(column))[index - start]
                if value.is_valid:
                    yield index, memoryview(value.as_buffer())
                return
            start += len(batch)
    raise LookupError(f"it has {start} rows")
