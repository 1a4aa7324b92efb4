"""What is wrong with a row, and the counts of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN_CHARACTERS = 60  # of a bad value in a report: enough to find it, short enough for a line


class ValueFault(ValueError):  # noqa: N818 (collected and reported, row by row)
    """One value does not fit its column.

    Args:
        code: stable, lower case with underscores.
        sentence: what was expected and what to do, without the value.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why one row cannot be used."""

    file: str  # name of the manifest file, without its folder
    row: int  # line of a text file (the first line is 1), row of a Parquet file (the first row is 1)
    column: str  # "" where the whole row is meant
    value: str  # shortened, safe for a terminal
    code: str
    sentence: str

    @property
    def text(self) -> str:
        """The column, its value and what is wrong with it, for example `mode 'fish' expected human or animal`."""
        return " ".join(filter(None, (self.column, self.value and repr(self.value), self.sentence)))

    def as_dict(self) -> dict[str, Any]:
        """The problem as a plain mapping, for JSON."""
        return asdict(self)


@dataclass
class ScanSummary:
    """Counts over one reading of a manifest; grows while the manifest is read."""

    rows: int = 0
    bad_rows: int = 0
    modes: Counter[str] = field(default_factory=Counter)  # of the good rows
    by_code: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)  # sentences about the manifest as a whole; none stops a run

    def as_dict(self) -> dict[str, Any]:
        """The counts as a plain mapping, for JSON."""
        return {
            "rows": self.rows,
            "bad_rows": self.bad_rows,
            "modes": dict(self.modes.most_common()),
            "by_code": dict(self.by_code.most_common()),
            "notes": self.notes,
        }


def safe_text(value: object, limit: int = SHOWN_CHARACTERS) -> str:
    r"""Any value as one short line that cannot steer a terminal.

    Control, format and unpaired surrogate characters become escapes (`\n`, `\x1b`, `\u202e`);
    a long text keeps its beginning and its end.
    """
    if isinstance(value, bytes | bytearray):
        text = repr(bytes(value[: 4 * limit]))
    elif isinstance(value, str):
        text = value if len(value) <= 8 * limit else value[: 4 * limit] + value[-4 * limit :]
    else:
        text = repr(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return text[:head] + "…" + text[head + 1 - limit :]
