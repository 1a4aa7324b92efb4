"""Manifests in Arrow files, as `Dataset.save_to_disk` of `datasets` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from joyvasa.runtime.files import check_regular
from manifests.cells import check_offsets, iterate_arrow, media_values, open_arrow
from manifests.formats.block import BLOCK_ROWS, OpenFile, RowBlock, select_extra_columns
from manifests.formats.typed_reader import TypedReader, read_values, unreadable_table
from manifests.schema import COLUMN_NAMES

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


class ArrowReader(TypedReader):
    """Reads `.arrow` files; rows are numbered from 1.

    A local file is mapped into memory, so the bytes of media are not read. A remote one is read as a whole, one batch
    at a time, because its form has no table of contents; `path` is then None.

    Raises:
        ManifestError: see `TypedReader`.
    """

    def __init__(
        self, name: str, open_file: OpenFile, path: Path | None, *, file: str, required: str | None = None
    ) -> None:
        self._path = path
        super().__init__(name, open_file, file=file, remote=path is None, required=required)

    def _open_source(self) -> Any:
        if self._path is None:
            return self._open()
        check_regular(self._path)
        return pa.memory_map(str(self._path))

    def _read_schema(self) -> pa.Schema:
        with self._open_source() as source:
            return open_arrow(source).schema

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`."""
        passed = select_extra_columns(self.columns) if extra else ()
        names = [name for name in self._schema.names if passed or name in COLUMN_NAMES]
        number = 1
        try:
            with self._open_source() as source:
                for whole in iterate_arrow(source):
                    check_offsets(whole)
                    for start in range(0, len(whole), BLOCK_ROWS):
                        batch = whole.slice(start, BLOCK_ROWS)
                        yield self._read_batch(batch, number, names, passed)
                        number += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise unreadable_table(self.name, error) from None

    def _read_batch(self, batch: pa.RecordBatch, number: int, names: list[str], passed: tuple[str, ...]) -> RowBlock:
        media = {}
        for name, column in self._media.items():
            array: Any = batch.column(batch.schema.get_field_index(column.source))
            paths = [None] * len(batch)
            if column.has_path:
                paths = read_values(pc.struct_field(array, "path"))
            media[name] = media_values(array).is_valid().to_pylist(), paths
        return self.build_block(batch.select(names) if names else None, number, passed, media)
