"""Table of figures with their limits and inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

NO_VALUES = "inputs from which it can be read"


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
    """One figure."""

    name: str  # key in `quality.json`
    what: str  # description of the figure
    value: float | None = None  # value of the figure; None if it is not available. NaN becomes None.
    unit: str = ""  # unit of value and bar
    bar: Bar | None = None  # limit; None if the figure is informative only
    inputs: str = ""  # description of the inputs, for example `15 portraits`
    note: str = ""  # additional information, such as the spread or the worst input
    missing: str = ""  # requirement that is missing if there is no value

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "missing", self.missing or NO_VALUES)

    @property
    def holds(self) -> bool | None:
        """True if the value reaches the bar; None without a bar or a value."""
        return None if self.bar is None or self.value is None else self.bar.holds(self.value)

    @property
    def figure(self) -> str:
        """Value and unit, or what is missing, as text."""
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
    """Return the row of the mean of the finite values, with the worst input, by `min` or `max`, in its note."""
    finite = {key: value for key, value in values.items() if math.isfinite(value)}
    if not finite:
        return Row(name, what, missing=NO_VALUES)
    key = worst(finite, key=lambda key: finite[key])
    note = f"worst {key}: {finite[key]:.2f}"
    return Row(name, what, float(np.mean(list(finite.values()))), unit, bar, f"{len(finite)} {inputs}", note)


def write_table(folder: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write `quality.json` and `quality.md`."""
    entries = [asdict(row) | {"bar": str(row.bar) if row.bar else None, "holds": row.holds} for row in rows]
    content = json.dumps({"about": dict(about), "rows": entries}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "quality.json").write_text(content + "\n", encoding="utf-8")

    holds = {None: "", True: "yes", False: "NO"}
    lines = ["# Measured quality", ""]
    lines += [
        f"- {name}: {(', '.join(value) or 'none') if isinstance(value, list) else value}"
        for name, value in about.items()
    ]
    lines += ["", "| what | figure | bar | holds | on | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        bar = f"{row.bar} {row.unit}".rstrip() if row.bar else "none"
        lines.append("| " + " | ".join((row.what, row.figure, bar, holds[row.holds], row.inputs, row.note)) + " |")
    (folder / "quality.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
