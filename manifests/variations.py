"""Options that are drawn at random for each row of a manifest of pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from joyvasa.errors import suggest_name
from manifests.option_columns import ARROW_TYPES, OptionColumns
from manifests.problems import ManifestError, ValueFault, safe_text
from manifests.record import OptionValue

DECIMALS = 4  # of drawn numbers
_DRAW_BITS = 53  # as many as a 64-bit float holds


@dataclass(frozen=True)
class Variation:
    """An option that is drawn for each row, from a range of numbers or from choices.

    A draw depends on the seed, the name of the option and the record id alone. So it does not change with the order and
    the number of rows, and other options are drawn independently.
    """

    name: str  # name of the option
    kind: type  # type of its values
    # low, high: range of numbers, both ends included
    low: float
    high: float
    choices: tuple[OptionValue, ...]  # values of which one is drawn; empty for a range
    seed: int  # seed of the draws

    @property
    def field(self) -> pa.Field:
        """Field of the column."""
        return pa.field(self.name, ARROW_TYPES[self.kind])

    def draw(self, record_ids: Sequence[str]) -> pa.Array:
        """Return the values of rows."""
        return pa.array([self._draw(record_id) for record_id in record_ids], self.field.type)

    def _draw(self, record_id: str) -> OptionValue:
        digest = hashlib.blake2b(f"{self.seed}:{self.name}:{record_id}".encode(), digest_size=8).digest()
        share = (int.from_bytes(digest, "big") >> (64 - _DRAW_BITS)) / 2**_DRAW_BITS  # 0 to 1, without 1
        if self.choices:
            return self.choices[int(share * len(self.choices))]
        if self.kind is int:
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        return round(self.low + share * (self.high - self.low), DECIMALS)


def parse_variation(text: str, options: OptionColumns, *, seed: int) -> Variation:
    """Parse `NAME=LOW:HIGH`, or `NAME=A,B,...` for choices.

    Args:
        text: text to parse.
        options: options that a row may set.
        seed: seed of the draws.

    Raises:
        ManifestError: `variation_invalid`.
    """
    name, equals, values = text.partition("=")
    name = name.strip()
    if not equals or not values:
        raise _invalid(text, "expected NAME=LOW:HIGH, such as pose.yaw=-15:15, or NAME=A,B for choices")
    if name not in options.specs:
        hint = suggest_name(name, options.specs)
        raise _invalid(text, f"no option that a row may set is named {safe_text(name)}; {hint}")

    kind, separator = options.specs[name].kind, ":" if ":" in values else ","
    try:
        parsed = [options.parse(name, value.strip()) for value in values.split(separator)]
    except ValueFault as fault:
        raise _invalid(text, f"{name}: {fault.sentence}") from None
    if separator == ",":
        return Variation(name, kind, 0.0, 0.0, tuple(parsed), seed)
    if kind not in (int, float):
        raise _invalid(text, f"{name} is no number; expected choices, separated by commas")
    if len(parsed) != 2 or not float(parsed[0]) < float(parsed[1]):
        raise _invalid(text, "expected LOW:HIGH with LOW below HIGH")
    return Variation(name, kind, float(parsed[0]), float(parsed[1]), (), seed)


def _invalid(text: str, reason: str) -> ManifestError:
    return ManifestError("variation_invalid", f"--vary {safe_text(text)}: {reason}")
