"""The controls of animations as sliders of the page: all options of `AnimationConfig` that have a range and a unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from joyvasa.options import AnimationConfig

LOOSE_GROUP = "face"  # heading of controls without a group
FRAMING = "framing"  # group that is shown last
WIDE = 20.0  # width of a range with whole steps, such as degrees
STEP, FINE_STEP = 1.0, 0.05


@dataclass(frozen=True)
class Control:
    """A control."""

    name: str  # option, such as `pose.yaw`
    default: float | None  # default value; None if the motion decides unless the control is set
    # low, high: range
    low: float
    high: float
    unit: str  # unit of the value

    @property
    def group(self) -> str:
        """Heading under which the control is shown."""
        group, dot, _ = self.name.rpartition(".")
        return group if dot else LOOSE_GROUP

    @property
    def step(self) -> float:
        """Step of the slider."""
        return STEP if self.high - self.low >= WIDE else FINE_STEP


@cache
def list_controls() -> tuple[Control, ...]:
    """Return all controls, in the order of the options."""
    return tuple(_iterate_controls(AnimationConfig()))


def read_controls(values: Any) -> dict[str, float]:
    """Return the controls that a browser has set, by name; other values are ignored.

    Args:
        values: mapping from names to numbers; untrusted, and not compared with the ranges.
    """
    given: Mapping[Any, Any] = values if isinstance(values, Mapping) else {}
    found = ((control.name, given.get(control.name)) for control in list_controls())
    return {name: value for name, value in found if isinstance(value, int | float) and not isinstance(value, bool)}


def _iterate_controls(config: Any, prefix: str = "") -> Iterator[Control]:
    for entry in dataclasses.fields(config):
        value, name = getattr(config, entry.name), f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(value):
            yield from _iterate_controls(value, f"{name}.")
        elif "ge" in entry.metadata:
            unit = entry.metadata["json_schema_extra"]["unit"]
            yield Control(name, value, entry.metadata["ge"], entry.metadata["le"], unit)
