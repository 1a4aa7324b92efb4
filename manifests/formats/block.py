"""Blocks of raw rows, and the base class of the readers that stream them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa

from manifests.errors import ManifestError
from manifests.problems import safe_text
from manifests.schema import COLUMN_NAMES, MAX_COLUMNS

BLOCK_ROWS = 8192  # a few MB of text; large enough that the work per block does not count

OpenFile = Callable[[], BinaryIO]
T = TypeVar("T")


def batch_rows(rows: Iterable[T]) -> Iterator[list[T]]:
    """Gathers rows into lists of `BLOCK_ROWS`, the last one shorter; reads none ahead of what it gives."""
    rows = iter(rows)
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
        yield block


@dataclass(frozen=True)
class RowFault:
    """A row that could not even be taken apart."""

    code: str
    sentence: str
    value: object = ""


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows as they were read; nothing is checked yet."""

    numbers: list[int]  # as a person counts them
    known: Mapping[str, list[Any]]  # by known column; a column the file lacks is absent
    faults: Mapping[int, RowFault] = field(default_factory=dict)  # by index in the block; known values there are None
    extra: pa.Table | None = None  # the passed-through columns, if requested

    def __len__(self) -> int:
        return len(self.numbers)


class Reader(ABC):
    """Reads one manifest file as a stream of blocks.

    Args:
        name: the file's name, for messages.
        open_file: opens the file for reading; called once a pass.
    """

    counted = "line"  # how `Block.numbers` counts: lines of a text file, or rows of a Parquet file

    def __init__(self, name: str, open_file: OpenFile) -> None:
        self.name = name
        self._open = open_file

    @abstractmethod
    def columns(self) -> tuple[str, ...] | None:
        """All columns in file order, or None where only reading every row tells."""

    @abstractmethod
    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """Stream the rows.

        Args:
            extra: whether to read the passed-through columns, too; they have the types of `extra_schema`.

        Raises:
            ManifestError: the file as a whole cannot be read.
        """

    @abstractmethod
    def extra_schema(self) -> pa.Schema:
        """Return names and types of the passed-through columns; in JSON Lines this reads the file, if `blocks` has not.

        Raises:
            ManifestError: the file as a whole cannot be read.
        """


def check_columns(name: str, columns: tuple[str, ...]) -> None:
    """Refuses a table that cannot be a manifest.

    Raises:
        ManifestError: `manifest_columns`.
    """
    found = ", ".join(safe_text(column) for column in columns[:12]) + (", ..." if len(columns) > 12 else "")
    doubled = sorted({column for column in columns if columns.count(column) > 1}) if len(columns) <= MAX_COLUMNS else []
    if len(columns) > MAX_COLUMNS:
        reason = f"has {len(columns)} columns; expected at most {MAX_COLUMNS}"
    elif doubled:
        reason = f"has the column {safe_text(doubled[0])} twice: rename one"
    elif "video" not in columns and ("image" not in columns or not {"audio", "motion"} & set(columns)):
        reason = f"has the columns {found}; expected image and audio (or motion): rename or add them"
        if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
            reason = f"has one column named {found}; expected commas between columns: save it with commas"
    else:
        return
    raise ManifestError("manifest_columns", f"{name}: {reason}")


def extra_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are passed through."""
    return tuple(column for column in columns if column not in COLUMN_NAMES)
