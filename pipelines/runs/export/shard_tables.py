"""Division of rows into shards, whose rows wait on a scratch disk until they are written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass
class _OpenTable:
    path: Path
    writer: pa.RecordBatchFileWriter
    stack: ExitStack
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
        """Append rows of one split.

        Args:
            split: name of the split.
            rows: rows.
            sizes: size of each record in bytes.
        """
        start = 0
        for index, size in enumerate(sizes):
            table = self._open.get(split) or self._start(split)
            if table.records and self._is_full(table, size):
                self._append(table, rows.slice(start, index - start))
                self._close(split)
                table, start = self._start(split), index
            table.bytes += size
            table.records += 1
        self._append(self._open[split], rows.slice(start))

    def _is_full(self, table: _OpenTable, size: int) -> bool:
        return table.bytes + size > self._max_bytes or table.records == self._max_records

    def _start(self, split: str) -> _OpenTable:
        path = self._folder / f"{split}-{len(self.finished.get(split, ())):05d}.arrow"
        stack = ExitStack()
        self._open[split] = _OpenTable(path, stack.enter_context(pa.ipc.new_file(str(path), self._schema)), stack)
        return self._open[split]

    def _append(self, table: _OpenTable, rows: pa.Table) -> None:
        if rows.num_rows:
            table.writer.write_table(rows.combine_chunks())

    def _close(self, split: str) -> None:
        table = self._open.pop(split)
        table.stack.close()
        self.finished.setdefault(split, []).append((table.path, table.records))
