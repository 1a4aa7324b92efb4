"""Columns that set options of the method for their row, such as `pose.yaw`, and options that are drawn at random."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from joyvasa.errors import ConfigError, suggest_name
from joyvasa.runtime.result_tables import INPUT_FIELDS, RESULT_FIELDS
from manifests.problems import ManifestError, ValueFault, safe_text
from manifests.record import Options, OptionValue, derive_seed
from manifests.schema import parse_number

ARROW_TYPES = {float: pa.float64(), int: pa.int64(), bool: pa.bool_(), str: pa.string()}
OPTION_MARK = b"joyvasa.option"  # metadata of a field of a run's manifest whose column sets an option
NEAR = 0.8  # similarity (difflib) from which a column counts as a misspelled option
DISTINCT_CHARACTERS = 8  # from this length on the last part of an option, such as `multiplier`, stands for the option
GUIDANCE = "sampling.cfg_scale"  # has a standard column
# Columns of tables of runs, which are manifests of other runs: `row` is no misspelled `brow`.
RUN_COLUMNS = frozenset(entry.name for entry in (*RESULT_FIELDS, *INPUT_FIELDS))

_TRUTH = {"true": True, "false": False}


class OptionSpec(Protocol):
    """Description of an option, see `stages.record_options.RecordOption`."""

    @property
    def kind(self) -> type: ...  # noqa: D102
    @property
    def choices(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def default(self) -> OptionValue | None: ...  # noqa: D102


class OptionColumns:
    """The columns of a manifest that set options.

    Args:
        specs: options that a row may set, by name.
        run_options: names of all options, also of those that are the same for all rows.
        check: function that is called with the mode and the options of a row, and raises `ConfigError` if they cannot
            be used together; other errors are not those of the row.
    """

    def __init__(
        self,
        specs: Mapping[str, OptionSpec],
        run_options: Collection[str],
        check: Callable[[str, Options], object] = lambda _mode, _options: None,
    ) -> None:
        self.specs = specs
        self._run_options = run_options
        self._check = check
        self._groups = {name.partition(".")[0] for name in run_options if "." in name}
        self._by_leaf: dict[str, list[str]] = {}
        for name in specs:
            self._by_leaf.setdefault(name.rpartition(".")[2], []).append(name)

    def parse(self, name: str, value: object) -> OptionValue:
        """Return a value of a column with the type of its option.

        Args:
            name: name of the option.
            value: value of the manifest, not empty.

        Raises:
            ValueFault: `wrong_type` or `out_of_range`.
        """
        spec = self.specs[name]
        if spec.kind is bool:
            return _parse_truth(value)
        if spec.kind is str:
            if not isinstance(value, str) or (spec.choices and value not in spec.choices):
                raise ValueFault("out_of_range", f"expected {' or '.join(spec.choices) or 'text'}")
            return value
        number = _parse_whole_number(value) if spec.kind is int else parse_number(value)
        if spec.low is not None and spec.high is not None and not spec.low <= number <= spec.high:
            raise ValueFault("out_of_range", f"expected {spec.low:g} to {spec.high:g} {spec.unit}".rstrip())
        return number

    def check(self, mode: str, options: Options) -> None:
        """Check that the options of a row can be used together, and by the models of the run.

        Raises:
            ValueFault: the code and the sentence of the error.
        """
        try:
            self._check(mode, options)
        except ConfigError as error:
            raise ValueFault(error.code, error.sentence) from None

    def array(self, name: str, values: list[OptionValue | None]) -> pa.Array:
        """Return the values of a column; a row without one has the value of the run."""
        default = self.specs[name].default
        return pa.array([default if value is None else value for value in values], ARROW_TYPES[self.specs[name].kind])

    def field(self, name: str) -> pa.Field:
        """Return the field of a column in the manifest of a run, marked as an option."""
        return pa.field(name, ARROW_TYPES[self.specs[name].kind], metadata={OPTION_MARK: b"1"})

    def check_names(self, file: str, columns: Collection[str]) -> list[str]:
        """Check that no column looks like an option without being one.

        Args:
            file: name of the table, for messages.
            columns: columns that are neither standard ones nor options.

        Returns:
            Notes about columns that pass through although they have the name of an option, or the last part of one.

        Raises:
            ManifestError: `option_unknown`.
        """
        notes = []
        for column in columns:
            if sentence := self._explain(column):
                raise ManifestError("option_unknown", f"{file}: column {safe_text(column)}: {sentence}")
            if column in self._run_options:
                notes.append(f"column {column} is passed through; the option {column} is the same for all rows")
            elif names := self._by_leaf.get(column.casefold()):
                meant = " or ".join(names)
                notes.append(f"column {safe_text(column)} is passed through and sets no option; {meant} would")
        return notes

    def _explain(self, column: str) -> str | None:
        """Return what is wrong with a column that looks like an option, or None."""
        if column in RUN_COLUMNS:
            return None
        if column == GUIDANCE:
            return "no option of a row; the column cfg_scale sets it: rename it"
        if column in self._run_options and "." in column:
            return "this option is the same for all rows; expected it in the options of the run: remove the column"
        if column in self._groups:
            inside = ", ".join(name for name in self.specs if name.startswith(f"{column}."))
            expected = f"expected one of {inside}" if inside else "its options are the same for all rows"
            return f"a group of options; {expected}: use a column for each option, or rename it"

        plain = {normalize_name(name): name for name in self.specs}
        near = plain.get(normalize_name(column))
        is_own = column in self._run_options
        if not near and not is_own and (matches := difflib.get_close_matches(column, self.specs, n=1, cutoff=NEAR)):
            near = matches[0]
        if not near and not is_own and len(column) >= DISTINCT_CHARACTERS:
            leaves = difflib.get_close_matches(column.casefold(), self._by_leaf, n=1, cutoff=0.9)
            near = " or ".join(self._by_leaf[leaves[0]]) if leaves else None
        if near:
            return f"no option, but much like {near}: correct the name, or choose another one for your own column"
        group = column.partition(".")[0]
        if "." in column and group in self._groups:
            inside = [name for name in self.specs if name.startswith(f"{group}.")]
            expected = f"expected one of {', '.join(inside)}" if inside else f"{group} has none that a row may set"
            return f"no option; {expected}: correct the name, or choose another one for your own column"
        return None


def is_option(entry: pa.Field) -> bool:
    """Return whether a column in the manifest of a run sets an option."""
    return OPTION_MARK in (entry.metadata or {})


def _parse_truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().casefold() in _TRUTH:
        return _TRUTH[value.strip().casefold()]
    raise ValueFault("wrong_type", "expected true or false")


def _parse_whole_number(value: object) -> int:
    number = parse_number(value, "a whole number")
    if not number.is_integer() or abs(number) > 2**53:
        raise ValueFault("wrong_type", "expected a whole number")
    return int(number)


def normalize_name(name: str) -> str:
    """Return the letters and digits of a name in lower case, by which similar names are recognized."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


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
        bits = derive_seed(self.seed, f"{self.name}:{record_id}") >> (63 - _DRAW_BITS)
        share = bits / 2**_DRAW_BITS  # 0 to 1, without 1
        if self.choices:
            return self.choices[int(share * len(self.choices))]
        if self.kind is int:
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        return round(self.low + share * (self.high - self.low), DECIMALS)


def parse_variation(text: str, options: OptionColumns, *, seed: int) -> Variation:
    """Parse `NAME=LOW:HIGH`, or `NAME=A,B,...` for choices.

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
