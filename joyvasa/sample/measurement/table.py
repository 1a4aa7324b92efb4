"""Rows of figures: what was measured, against which bar, on how many inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

NOTHING = "inputs in which it can be read"


@dataclass(frozen=True)
class Bar:
    """The limit that a figure must reach."""

    kind: Literal["at least", "at most", "above", "below"]
    limit: float

    def holds(self, value: float) -> bool:
        """Return whether a value reaches the limit; NaN never does."""
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
        name: key in `quality.json`.
        what: description of the figure.
        value: the figure; None, or NaN which becomes None, where there is none.
        unit: unit of value and bar.
        bar: the limit; None where the figure is only stated.
        inputs: what it was measured on, for example `15 portraits`.
        note: the spread, the worst input, how it was measured.
        missing: what the figure needs where it has no value.
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
            object.__setattr__(self, "missing", self.missing or NOTHING)

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached; None without a bar or a figure."""
        return None if self.bar is None or self.value is None else self.bar.holds(self.value)

    @property
    def figure(self) -> str:
        """The figure as text."""
        if self.value is None:
            return f"not available: needs {self.missing}"
        return f"{self.value:.3g} {self.unit}".rstrip()


def mean_row(
    name: str,
    what: str,
    values: Mapping[str, float],
    unit: str = "",
    bar: Bar | None = None,
    *,
    inputs: str,
    worst: Any,
) -> Row:
    """Return the row of a mean over inputs, with the worst input as its note.

    Args:
        name: see `Row`.
        what: see `Row`.
        values: value of each input; NaN is left out.
        unit: see `Row`.
        bar: see `Row`.
        inputs: what the inputs are, in the plural.
        worst: `min` or `max`.
    """
    known = {key: value for key, value in values.items() if math.isfinite(value)}
    if not known:
        return Row(name, what, missing=NOTHING)
    key = worst(known, key=lambda key: known[key])
    note = f"worst {key}: {known[key]:.2f}"
    return Row(name, what, float(np.mean(list(known.values()))), unit, bar, f"{len(known)} {inputs}", note)


def write_table(folder: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write `quality.json` and `quality.md`.

    Args:
        folder: folder of both.
        rows: rows in their order.
        about: bundle, machine, inputs; strings, numbers, lists of them.
    """
    entries = [asdict(row) | {"bar": str(row.bar) if row.bar else None, "holds": row.holds} for row in rows]
    content = json.dumps({"about": dict(about), "rows": entries}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "quality.json").write_text(content + "\n", encoding="utf-8")
    said = {None: "", True: "yes", False: "NO"}
    lines = ["# Measured quality", ""]
    lines += [
        f"- {name}: {(', '.join(value) or 'none') if isinstance(value, list) else value}"
        for name, value in about.items()
    ]
    lines += ["", "| what | figure | bar | holds | on | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        bar = f"{row.bar} {row.unit}".rstrip() if row.bar else "to be stated"
        lines.append("| " + " | ".join((row.what, row.figure, bar, said[row.holds], row.inputs, row.note)) + " |")
    (folder / "quality.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
