"""Blocks of raw rows, the base class of readers, and columns in the names of folders: `mode=human/part-0.parquet`."""

from __future__ import annotations

import itertools
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

import pyarrow as pa

from manifests.problems import ManifestError, safe_text
from manifests.schema import COLUMN_NAMES, MAX_COLUMNS

BLOCK_ROWS = 8192  # a few MB of text; large enough to make the overhead per block negligible

OpenFile = Callable[[], BinaryIO]
T = TypeVar("T")


def batch_rows(rows: Iterable[T]) -> Iterator[list[T]]:
    """Group rows into lists of `BLOCK_ROWS`; the last list may be shorter."""
    rows = iter(rows)
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
        yield block


@dataclass(frozen=True)
class RowFault:
    """A row that could not be split into values."""

    code: str
    sentence: str
    value: object = ""


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows with unchecked values."""

    numbers: list[int]  # numbers of the rows, see `Reader.row_unit`
    columns: Mapping[str, list[Any]]  # values of the standard columns of the file, by name
    faults: Mapping[int, RowFault] = field(default_factory=dict)  # by index in the block; values of these rows are None
    extra: pa.Table | None = None  # passed-through columns, if requested

    def __len__(self) -> int:
        return len(self.numbers)


class Reader(ABC):
    """Base class of readers, which read a manifest file as a stream of blocks.

    Args:
        name: name of the file, for messages.
        open_file: function that opens the file for reading; called once per pass.
    """

    row_unit = "line"  # unit of `RowBlock.numbers`: `line` of a text file or `row` of a Parquet file
    holds_media = False  # whether media of the rows may be in the file itself
    columns: tuple[str, ...] | None = None  # all columns in the order of the file; None if rows can have different ones

    def __init__(self, name: str, open_file: OpenFile) -> None:
        self.name = name
        self._open = open_file
        self.notes: list[str] = []  # sentences about the columns

    @abstractmethod
    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """Yield the rows in blocks.

        Args:
            extra: whether to read the passed-through columns, with the types of `extra_schema`.

        Raises:
            ManifestError: the file as a whole cannot be read.
        """

    @abstractmethod
    def extra_schema(self) -> pa.Schema:
        """Return names and types of the passed-through columns; for JSON Lines this may read the whole file.

        Raises:
            ManifestError: the file as a whole cannot be read.
        """


def check_columns(name: str, columns: tuple[str, ...], required: str | None = None) -> None:
    """Check that a table has the columns of a manifest.

    Args:
        name: name of the file, for messages.
        columns: all columns of the table.
        required: the only standard column that the table must have; None for those of a manifest.

    Raises:
        ManifestError: `manifest_columns`.
    """
    names = ", ".join(safe_text(column) for column in columns[:12]) + (", ..." if len(columns) > 12 else "")
    duplicates = []
    if len(columns) <= MAX_COLUMNS:
        duplicates = sorted({column for column in columns if columns.count(column) > 1})

    if len(columns) > MAX_COLUMNS:
        reason = f"has {len(columns)} columns; expected at most {MAX_COLUMNS}"
    elif duplicates:
        reason = f"has the column {safe_text(duplicates[0])} twice: rename one"
    elif required and required not in columns:
        reason = f"has the columns {names}; expected {required}: rename or add it"
    elif (
        not required
        and "video" not in columns
        and ("image" not in columns or not {"audio", "motion", "text"} & set(columns))
    ):
        reason = f"has the columns {names}; expected image and audio (or motion): rename or add them"
        if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
            reason = f"has one column named {names}; expected commas between columns: save it with commas"
    else:
        return
    raise ManifestError("manifest_columns", f"{name}: {reason}")


def select_extra_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that are passed through."""
    return tuple(column for column in columns if column not in COLUMN_NAMES)


NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # value that Hive and Spark write for null


def parse_partitions(path: str) -> dict[str, str | None]:
    """Return the columns in the folders of a relative path, with their values."""
    pairs = (folder.partition("=") for folder in posixpath.dirname(path).split("/") if "=" in folder)
    return {unquote(name): None if value == NO_VALUE else unquote(value) for name, _, value in pairs}


class PartitionReader(Reader):
    """Adds the columns of its folders to the rows of a file; a value in a row has precedence."""

    def __init__(self, reader: Reader, values: Mapping[str, str | None]) -> None:
        super().__init__(reader.name, reader._open)
        self.row_unit, self.holds_media = reader.row_unit, reader.holds_media
        self._reader = reader
        self.notes = reader.notes
        self._standard = {name: value for name, value in values.items() if name in COLUMN_NAMES}
        self._extra = {name: value for name, value in values.items() if name not in COLUMN_NAMES}
        if reader.columns is not None:
            self.columns = tuple(dict.fromkeys([*reader.columns, *values]))

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
