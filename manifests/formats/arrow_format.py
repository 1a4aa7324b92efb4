"""Manifests in Arrow files, as `Dataset.save_to_disk` of `datasets` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from manifests.cells import iterate_arrow, media_values, read_arrow_schema
from manifests.formats.block import BLOCK_ROWS, OpenFile, RowBlock, select_extra_columns
from manifests.formats.typed_reader import TypedReader, read_values, unreadable_table
from manifests.schema import COLUMN_NAMES

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


class ArrowReader(TypedReader):
    """Reads `.arrow` files on a local disk; rows are numbered from 1.

    The file is mapped into memory, so the bytes of media are not read.

    Args:
        name: name of the file, for messages.
        open_file: function that opens the file.
        path: the local file.
        file: path of the file in the folder of the manifest.
        required: see `check_columns`.

    Raises:
        ManifestError: see `TypedReader`.
    """

    def __init__(self, name: str, open_file: OpenFile, path: Path, *, file: str, required: str | None = None) -> None:
        self._path = path
        super().__init__(name, open_file, file=file, required=required)

    def _read_schema(self) -> pa.Schema:
        return read_arrow_schema(self._path)

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`."""
        passed = select_extra_columns(self.columns()) if extra else ()
        names = [name for name in self._schema.names if passed or name in COLUMN_NAMES]
        number = 1
        try:
            for whole in iterate_arrow(self._path):
                for start in range(0, len(whole), BLOCK_ROWS):
                    batch = whole.slice(start, BLOCK_ROWS)
                    media = {}
                    for name, column in self._columns.media.items():
                        array: Any = batch.column(batch.schema.get_field_index(column.source))
                        paths = [None] * len(batch)
                        if column.has_path:
                            paths = read_values(pc.struct_field(array, "path"))
                        media[name] = media_values(array).is_valid().to_pylist(), paths
                    yield self.build_block(batch.select(names) if names else None, number, passed, media)
                    number += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise unreadable_table(self.name, error) from None
