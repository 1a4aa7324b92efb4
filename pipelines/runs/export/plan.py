"""The plan of an export: which rows belong to which shard, decided before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.runs.export.media import MEDIA_KINDS, MediaFile
from pipelines.runs.export.statistics import DatasetStatistics

MAX_FOLDER_RECORDS = 10_000  # files per folder that the hub accepts

# Columns of the scratch tables before those of the data set: name of the record, then the location, size and expected
# hash of each kind of media. They are read by position, because names of columns may collide.
OWN_FIELDS = [pa.field("name", pa.string())]
for _kind in MEDIA_KINDS:
    OWN_FIELDS += [pa.field(f"{_kind}_location", pa.string()), pa.field(f"{_kind}_bytes", pa.int64())]
    OWN_FIELDS += [pa.field(f"{_kind}_sha256", pa.string())]


@dataclass(frozen=True)
class PlannedRecord:
    """The files of a record."""

    name: str  # name of its files, without suffix; safe and unique
    video: MediaFile  # its video
    # portrait, audio: its inputs; None if they are not exported or not readable
    portrait: MediaFile | None
    audio: MediaFile | None


@dataclass(frozen=True)
class PlannedShard:
    """Rows that are written together."""

    split: str  # name of the split
    number: int  # number within the split, from 0
    table: Path  # scratch file with the rows
    records: int  # number of rows
    digest: str  # hash of the rows and of the options that affect the shard's files

    @property
    def name(self) -> str:
        """Name of the shard, for example `train/00000`."""
        return f"{self.split}/{self.number:05d}"

    def iterate_rows(self) -> Iterator[tuple[list[PlannedRecord], pa.Table]]:
        """Yield records and their rows with the columns of the data set, a small number at a time."""
        with pa.memory_map(str(self.table)) as source, pa.ipc.open_file(source) as reader:
            names = reader.schema.names[len(OWN_FIELDS) :]
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                own = [batch.column(position).to_pylist() for position in range(len(OWN_FIELDS))]
                rows = pa.table(batch.columns[len(OWN_FIELDS) :], names=names)
                yield [_build_record(values) for values in zip(*own, strict=True)], rows


@dataclass
class ExportPlan:
    """The shards of an export and the figures of their rows."""

    schema: pa.Schema  # columns of the data set, without media
    statistics: DatasetStatistics = field(default_factory=DatasetStatistics)  # figures of all rows
    shards: dict[str, list[PlannedShard]] = field(default_factory=dict)  # shards by split, in order
    # a few videos for the contact sheet, with their durations
    samples: list[tuple[str, float | None]] = field(default_factory=list)


def _build_record(values: tuple[Any, ...]) -> PlannedRecord:
    media = [MediaFile(*values[start : start + 3]) if values[start] else None for start in range(1, len(OWN_FIELDS), 3)]
    assert media[0] is not None  # checked by the plan
    return PlannedRecord(values[0], media[0], media[1], media[2])


@dataclass
class _OpenTable:
    path: Path
    writer: pa.RecordBatchFileWriter
    bytes: int = 0
    records: int = 0


class ShardTables:
    """Appends rows to the open shard of their split. Use it as a context manager, which closes all shards.

    Args:
        folder: empty local folder.
        schema: columns of the rows.
        max_bytes: size at which a shard ends; one record may exceed it.
        max_records: number of records at which a shard ends; None for no limit.

    Attributes:
        finished: file and number of rows of each shard, by split.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, max_bytes: int, max_records: int | None) -> None:
        self._folder, self._schema = folder, schema
        self._max_bytes, self._max_records = max_bytes, max_records
        self._open: dict[str, _OpenTable] = {}
        self.finished: dict[str, list[tuple[Path, int]]] = {}

    def __enter__(self) -> ShardTables:
        return self

    def __exit__(self, *_: object) -> None:
        for split in [*self._open]:
            self._close(split)

    def add(self, split: str, rows: pa.Table, sizes: Sequence[int]) -> None:
        """Append rows of one split; `sizes` are those of the records in bytes."""
        start = 0
        for index, size in enumerate(sizes):
            table = self._open.get(split) or self._start(split)
            is_full = table.bytes + size > self._max_bytes or table.records == self._max_records
            if table.records and is_full:
                self._append(table, rows.slice(start, index - start))
                self._close(split)
                table, start = self._start(split), index
            table.bytes += size
            table.records += 1
        self._append(self._open[split], rows.slice(start))

    def _start(self, split: str) -> _OpenTable:
        path = self._folder / f"{split}-{len(self.finished.get(split, ())):05d}.arrow"
        self._open[split] = _OpenTable(path, pa.ipc.new_file(str(path), self._schema))
        return self._open[split]

    def _append(self, table: _OpenTable, rows: pa.Table) -> None:
        if rows.num_rows:
            table.writer.write_table(rows.combine_chunks())

    def _close(self, split: str) -> None:
        table = self._open.pop(split)
        table.writer.close()
        self.finished.setdefault(split, []).append((table.path, table.records))
