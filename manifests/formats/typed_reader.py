"""Readers of tables with types, in which media may be paths or bytes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.errors import first_line
from manifests.formats.block import OpenFile, Reader, RowBlock, check_columns, select_extra_columns
from manifests.formats.media_columns import classify_columns, locate_media
from manifests.formats.plain_types import plain_batch, plain_schema
from manifests.problems import ManifestError
from manifests.schema import COLUMN_NAMES

NUMBER_COLUMNS = ("seed", "cfg_scale", "priority")


class TypedReader(Reader):
    """Base class of readers of tables with types, in which media may be paths or bytes.

    Args:
        name: name of the file, for messages.
        open_file: function that opens the file.
        file: path of the file in the folder of the manifest.
        remote: whether the manifest is remote.
        required: see `check_columns`.

    Raises:
        ManifestError: `manifest_unreadable`, `manifest_encoding` or `manifest_columns`.
    """

    row_unit = "row"
    columns: tuple[str, ...]

    def __init__(
        self, name: str, open_file: OpenFile, *, file: str, remote: bool = False, required: str | None = None
    ) -> None:
        super().__init__(name, open_file)
        self._file, self._remote = file, remote
        try:
            schema = self._read_schema()
            found = classify_columns(schema)
            self._schema = plain_schema(pa.schema([schema.field(column) for column in found.others]))
        except UnicodeDecodeError:
            sentence = f"{name}: the name of a column is not UTF-8; expected UTF-8: rename it"
            raise ManifestError("manifest_encoding", sentence) from None
        except KeyError:  # a name that occurs twice has no single field
            check_columns(name, tuple(schema.names), required)
            raise
        except (pa.ArrowException, OSError) as error:
            raise unreadable_table(name, error) from None
        self.columns, self._media, self.notes = found.names, found.media, found.notes
        self.holds_media = bool(found.media)
        check_columns(name, self.columns, required)
        for column in self._schema:
            if column.name in COLUMN_NAMES:
                _check_type(name, column)

    @abstractmethod
    def _read_schema(self) -> pa.Schema:
        """Return the schema of the file, with its metadata."""

    def extra_schema(self) -> pa.Schema:
        """See `Reader`."""
        return pa.schema([self._schema.field(column) for column in select_extra_columns(self.columns)])

    def build_block(
        self,
        batch: pa.RecordBatch | None,
        number: int,
        passed: tuple[str, ...],
        media: dict[str, tuple[list[bool], list[Any]]],
    ) -> RowBlock:
        """Return the rows of a batch.

        Args:
            batch: columns other than media; None if there are none.
            number: number of the first row.
            passed: names of the passed-through columns.
            media: whether the rows have bytes, and their paths, for each column of media.
        """
        columns: dict[str, list[Any]] = {}
        table, n_rows = None, max((len(paths) for _, paths in media.values()), default=0)
        if batch is not None:
            plain, n_rows = plain_batch(batch), len(batch)
            columns = {name: read_values(plain.column(name)) for name in COLUMN_NAMES if name in plain.schema.names}
            table = pa.Table.from_batches([plain.select(passed)]) if passed else None

        faults = {}
        for name, (has_bytes, paths) in media.items():
            source = self._media[name]
            columns[name], found = locate_media(self._file, source, number, has_bytes, paths, remote=self._remote)
            faults |= found
        return RowBlock([*range(number, number + n_rows)], columns, faults, table)


def read_values(array: Any) -> list[Any]:
    """Return the values of a column; texts that are not UTF-8 as bytes."""
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


def unreadable_table(name: str, error: Exception) -> ManifestError:
    """Return the error for a table that cannot be read."""
    return ManifestError(
        "manifest_unreadable", f"{name}: cannot be read as a table ({first_line(error)}): write it again"
    )
