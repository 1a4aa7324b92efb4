"""What a visitor has marked in a run: bounds of sliders and ticked records, as conditions of a selection.

The values come from a browser, so they are untrusted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from manifests.expressions import MAX_CHARACTERS, quote_column, quote_text
from pipelines.runs.selection.run_tables import shorten_column

MAX_TEXT = 1000  # characters of an id or of the name of a column
USES = ("", "only", "without")  # ticked records are not used, the only ones, or left out


@dataclass(frozen=True)
class Marks:
    """Bounds and ticks of one run."""

    run: str = ""  # path of the run
    # smallest and largest value by column; None for no bound
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    ticks: tuple[str, ...] = ()  # ids of ticked records, in order
    use: str = ""  # use of the ticks, see `USES`
    reset: int = 0  # number of times that marks were removed or refused; a new number makes the browser show it

    def list_conditions(self, names: Collection[str]) -> list[str]:
        """Return the conditions, see `manifests.expressions`.

        Args:
            names: names of all columns of the run.
        """
        result = []
        for column, (low, high) in self.bounds.items():
            name = quote_column(shorten_column(column, names))
            result += [f"{name} >= {low!r}"] if low is not None else []
            result += [f"{name} <= {high!r}"] if high is not None else []
        return [*result, _list_ids(self.ticks, self.use)] if self.ticks and self.use else result

    def apply(self, action: Any) -> Marks:
        """Return the marks after an action in the browser; an invalid one, or a tick too many, changes nothing.

        Args:
            action: mapping with one of `bounds`, `tick` (an id, with `on`), `use` or `reset`.
        """
        if not isinstance(action, Mapping):
            return self
        if isinstance(bounds := action.get("bounds"), Mapping):
            checked = {name: _check_bounds(pair) for name, pair in bounds.items() if _is_short(name)}
            return replace(self, bounds={name: pair for name, pair in checked.items() if pair != (None, None)})
        if _is_short(tick := action.get("tick")):
            others = tuple(name for name in self.ticks if name != tick)
            ticks = (*others, tick) if action.get("on") is True else others
            if max(len(_list_ids(ticks, use)) for use in USES) > MAX_CHARACTERS:
                return replace(self, reset=self.reset + 1)
            return replace(self, ticks=ticks, use=self.use if ticks else "")
        if (use := action.get("use")) in USES and self.ticks:
            return replace(self, use="" if use == self.use else use)
        if action.get("reset") is True:
            return Marks(self.run, reset=self.reset + 1)
        return self


def _list_ids(ids: Iterable[str], use: str) -> str:
    """Return the condition of ticked records."""
    return f"record_id {'in' if use == 'only' else 'not in'} [{', '.join(map(quote_text, ids))}]"


def _is_short(text: Any) -> TypeGuard[str]:
    return isinstance(text, str) and 0 < len(text) <= MAX_TEXT


def _check_bounds(pair: Any) -> tuple[float | None, float | None]:
    low, high = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
    return _check_number(low), _check_number(high)


def _check_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        return None
    return value
