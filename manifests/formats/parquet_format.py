"""Manifests in Parquet; passed-through columns keep their types, see `plain_types` for exceptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from manifests.cells import media_values
from manifests.formats.block import BLOCK_ROWS, RowBlock, select_extra_columns
from manifests.formats.media_columns import MediaColumn
from manifests.formats.parquet_footer import read_null_counts
from manifests.formats.typed_reader import TypedReader, read_values, unreadable_table
from manifests.schema import COLUMN_NAMES

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
NULL_CHECK_ROWS = 16  # decoded at once where only some rows of a row group have bytes


class ParquetReader(TypedReader):
    """Reads `.parquet`; rows are numbered from 1. The bytes of media are not read."""

    def _read_schema(self) -> pa.Schema:
        with self._open() as file:
            return _open_parquet(file).schema_arrow

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`."""
        passed = select_extra_columns(self.columns) if extra else ()
        names = [name for name in self._schema.names if passed or name in COLUMN_NAMES]
        number = 1
        with self._open() as file:
            try:
                parquet = _open_parquet(file)
                if not self._media:
                    for batch in parquet.iter_batches(BLOCK_ROWS, columns=None if passed else names):
                        yield self.build_block(batch, number, passed, {})
                        number += len(batch)
                    return
                null_counts = _read_null_counts(parquet, self._media)
                for group in range(parquet.metadata.num_row_groups):
                    counts = {name: of_groups[group] for name, of_groups in null_counts.items()}
                    for block in self._read_group(parquet, group, number, names, passed, counts):
                        yield block
                        number += len(block)
            except (pa.ArrowException, OSError) as error:
                raise unreadable_table(self.name, error) from None

    def _read_group(
        self,
        parquet: pq.ParquetFile,
        group: int,
        number: int,
        names: list[str],
        passed: tuple[str, ...],
        null_counts: dict[str, int | None],
    ) -> Iterator[RowBlock]:
        """Yield the blocks of a row group; of media, only paths are read."""
        n_rows = parquet.metadata.row_group(group).num_rows
        media = self._media
        has_bytes = {name: _find_bytes(parquet, group, column, null_counts[name]) for name, column in media.items()}
        leaves = [*names, *(f"{column.source}.path" for column in media.values() if column.has_path)]
        batches: Iterator[pa.RecordBatch | None] = iter([None])
        if leaves:
            batches = parquet.iter_batches(BLOCK_ROWS, row_groups=[group], columns=leaves)
        start = 0
        for batch in batches:
            end = start + (len(batch) if batch is not None else n_rows)
            found = {}
            for name, column in media.items():
                paths = [None] * (end - start)
                if batch is not None and column.has_path:
                    paths = read_values(pc.struct_field(batch.column(column.source), "path"))
                found[name] = has_bytes[name][start:end], paths
            others = batch.select(names) if batch is not None and names else None
            yield self.build_block(others, number + start, passed, found)
            start = end


def _find_bytes(parquet: pq.ParquetFile, group: int, column: MediaColumn, null_count: int | None) -> list[bool]:
    """Return which rows of a row group have bytes.

    The null counts of most files state that all have, or none. Otherwise the values are decoded, a few at a time.
    """
    n_rows = parquet.metadata.row_group(group).num_rows
    if null_count in (0, n_rows):
        return [null_count == 0] * n_rows
    found: list[bool] = []
    for batch in parquet.iter_batches(NULL_CHECK_ROWS, row_groups=[group], columns=[column.bytes_leaf]):
        found += media_values(batch.column(0)).is_valid().to_pylist()
    return found


def _read_null_counts(parquet: pq.ParquetFile, media: Mapping[str, MediaColumn]) -> dict[str, list[int | None]]:
    """Return the number of rows without bytes in each row group, by the names of media; the footer is read once."""
    schema = parquet.metadata.schema
    leaves = {schema.column(number).path: number for number in range(len(schema))}
    counts = read_null_counts(parquet.metadata, [leaves[column.bytes_leaf] for column in media.values()])
    return dict(zip(media, counts, strict=True))


def _open_parquet(file: BinaryIO) -> pq.ParquetFile:
    # The 96-bit times of Spark have microseconds; as nanoseconds, times before 1677 or after 2262 would be others.
    return pq.ParquetFile(file, pre_buffer=False, coerce_int96_timestamp_unit="us")
