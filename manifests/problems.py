"""Errors of manifests and run folders, problems of rows, and their counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from joyvasa.errors import JoyvasaError, escape_unprintable, first_line


class ManifestError(JoyvasaError):
    """A manifest, a profile or a run folder cannot be read or written."""


SHOWN_CHARACTERS = 60  # of a bad value: enough to find it, short enough for one line


class ValueFault(ValueError):  # noqa: N818 (collected, not raised to users)
    """A value that does not fit its column.

    Args:
        code: stable code, lower case with underscores.
        sentence: what was expected and what to do, without the value.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason why a row cannot be used."""

    file: str  # name of the manifest file, without its folder
    row_unit: str  # `line` of a text file or `row` of a Parquet file
    row: int  # number of the line or row, counted from 1
    column: str  # "" if the problem concerns the whole row
    value: str  # shortened and escaped for terminals
    code: str
    sentence: str

    @property
    def place(self) -> str:
        """Return file and row, for example `pairs.csv, line 3`."""
        return f"{self.file}, {self.row_place}"

    @property
    def row_place(self) -> str:
        """Return the row, for example `line 3`."""
        return f"{self.row_unit} {self.row}"

    @property
    def text(self) -> str:
        """Return column, value and sentence, for example `mode 'fish' expected human or animal`."""
        return " ".join(filter(None, (self.column, self.value and repr(self.value), self.sentence)))


@dataclass
class ScanSummary:
    """Counts of one scan of a manifest, updated during the scan."""

    rows: int = 0
    bad_rows: int = 0
    left_out: int = 0  # good rows that do not meet the conditions of a run
    modes: Counter[str] = field(default_factory=Counter)  # of good rows that are not left out
    motions: int = 0  # good rows that are not left out and have a motion
    by_code: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)  # hints about the manifest as a whole

    def add(
        self, records: Sequence[object], problems: Sequence[Problem], modes: Iterable[str], motions: int = 0
    ) -> None:
        """Add a block of rows.

        Args:
            records: record of each row; None for bad ones.
            problems: problems of the rows.
            modes: modes of the rows that are used.
            motions: number of these rows that have a motion.
        """
        self.rows += len(records)
        self.bad_rows += sum(record is None for record in records)
        self.modes.update(modes)
        self.motions += motions
        self.by_code.update(problem.code for problem in problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as a mapping, for JSON."""
        return {
            "rows": self.rows,
            "bad_rows": self.bad_rows,
            "modes": dict(self.modes.most_common()),
            "by_code": dict(self.by_code.most_common()),
            "notes": self.notes,
        }


def safe_text(value: object, limit: int = SHOWN_CHARACTERS) -> str:
    r"""Return a value, or the message of an error, as one short line without terminal control sequences.

    Control, format and unpaired surrogate characters are escaped (`\n`, `\x1b`, `\u202e`). The middle of a long text is
    replaced by `…`.
    """
    if isinstance(value, bytes | bytearray):
        text = repr(bytes(value[: 4 * limit]))
    elif isinstance(value, str):
        text = value if len(value) <= 8 * limit else value[: 4 * limit] + value[-4 * limit :]
    elif isinstance(value, BaseException):
        text = first_line(value)
    else:
        text = repr(value)
    text = escape_unprintable(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return text[:head] + "…" + text[head + 1 - limit :]
