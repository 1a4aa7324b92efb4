"""Blocks of raw rows, and the base class of readers."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

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

    def __init__(self, name: str, open_file: OpenFile) -> None:
        self.name = name
        self._open = open_file
        self.notes: list[str] = []  # sentences about the columns

    @abstractmethod
    def columns(self) -> tuple[str, ...] | None:
        """Return all columns in the order of the file, or None if rows can have different columns."""

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
