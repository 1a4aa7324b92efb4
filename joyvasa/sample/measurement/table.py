"""Rows of figures: what was measured, against which bar, on how many inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Bar:
    """What a figure must reach."""

    kind: Literal["at least", "at most", "above", "below"]
    limit: float

    def holds(self, value: float) -> bool:
        """Whether it is reached; never by what is not a number."""
        if self.kind == "at least":
            return value >= self.limit
        if self.kind == "at most":
            return value <= self.limit
        return value > self.limit if self.kind == "above" else value < self.limit

    def __str__(self) -> str:
        return f"{self.kind} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: in `quality.json`.
        what: was measured.
        value: None where there is none, and then `missing` says what it needs.
        unit: of value and bar.
        bar: None where the figure is only stated.
        inputs: that it was measured on, for example `15 portraits`.
        note: what else should be known: the spread, the worst, how it was taken.
        missing: what the figure needs and did not find.
    """

    name: str
    what: str
    value: float | None = None
    unit: str = ""
    bar: Bar | None = None
    inputs: str = ""
    note: str = ""
    missing: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "missing", self.missing or "readings that vary: none of them did")

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached; None without a bar or a figure."""
        return None if self.bar is None or self.value is None else self.bar.holds(self.value)

    @property
    def figure(self) -> str:
        """For people."""
        if self.value is None:
            return f"not available: needs {self.missing}"
        return f"{self.value:.3g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Missing:
    """Why figures are not there: what they need."""

    what: str

    def rows(self, names: Mapping[str, str]) -> list[Row]:
        """A row without a figure for each name and what it says."""
        return [Row(name, what, missing=self.what) for name, what in names.items()]


def write_table(folder: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Writes `quality.json` and `quality.md`.

    Args:
        folder: for both.
        rows: in their order.
        about: bundle, machine, inputs; strings, numbers, lists of them.
    """
    entries = [
        {
            "name": row.name,
            "what": row.what,
            "value": row.value,
            "unit": row.unit,
            "bar": str(row.bar) if row.bar else None,
            "holds": row.holds,
            "inputs": row.inputs,
            "note": row.note,
            "missing": row.missing or None,
        }
        for row in rows
    ]
    content = json.dumps({"about": dict(about), "rows": entries}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "quality.json").write_text(content + "\n", encoding="utf-8")
    (folder / "quality.md").write_text(markdown(rows, about), encoding="utf-8")


def markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table for people."""
    said = {None: "", True: "yes", False: "NO"}
    lines = ["# Measured quality", ""]
    lines += [
        f"- {name}: {(', '.join(value) or 'none') if isinstance(value, list) else value}"
        for name, value in about.items()
    ]
    lines += ["", "| what | figure | bar | holds | on | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        bar = f"{row.bar} {row.unit}".rstrip() if row.bar else "to be stated"
        cells = (row.what, row.figure, bar, said[row.holds], row.inputs, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
