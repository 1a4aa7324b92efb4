"""Values in conditions: their kinds, and the operators between them as Arrow expressions.

Functions raise `ValueError` with a sentence for the user if operands do not fit.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as is_type

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
ORDER = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
EQUALITY = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
SEARCHES = {"startswith": pc.starts_with, "contains": pc.match_substring}
SEPARATOR = "\n"  # between the texts of a list that is searched


class Kind(StrEnum):
    """Kind of a value."""

    NUMBER = "a number"
    TEXT = "text"
    BOOLEAN = "true or false"
    TIME = "a time"
    TEXTS = "a list of texts"
    NULL = "null"
    OTHER = "of a type that conditions cannot use"


@dataclass(frozen=True)
class Operand:
    """A value in a condition."""

    source: str  # text of the value in the condition
    kind: Kind  # kind of the value
    expression: Any  # value as an Arrow expression; None for the constant null
    constant: Any = None  # value of a constant; None for columns and computed values
    time_type: pa.DataType | None = None  # type of a time
    is_integer: bool = False  # whether the expression of a number has a type of signed integers

    @property
    def number(self) -> Any:
        """Number as a 64-bit float, which neither overflows nor fails on a division by zero."""
        return self.require(Kind.NUMBER).cast(pa.float64(), safe=False)

    def require(self, kind: Kind) -> Any:
        """Return the expression of a value that must have a kind, or be missing."""
        if self.kind is Kind.NULL:
            return pc.scalar(pa.scalar(None, pa.float64() if kind is Kind.NUMBER else pa.bool_()))
        if self.kind is not kind:
            raise ValueError(f"{self.source} is {self.kind}; expected {kind}")
        return self.expression


def make_constant(value: str | float | bool | None, source: str) -> Operand:
    """Return a constant."""
    if value is None:
        return Operand(source, Kind.NULL, None)
    if isinstance(value, bool):
        kind = Kind.BOOLEAN
    elif isinstance(value, str):
        kind = Kind.TEXT
    else:
        kind = Kind.NUMBER
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{source} is too large; expected a 64-bit number")
    is_integer = kind is Kind.NUMBER and isinstance(value, int)
    return Operand(source, kind, pc.scalar(value), value, is_integer=is_integer)


def make_column(name: str, kind: pa.DataType, source: str) -> Operand:
    """Return a column, converted to a type with which Arrow computes."""
    expression = pc.field(name)
    if is_type.is_dictionary(kind):
        kind = kind.value_type
        expression = expression.cast(kind)
    if is_type.is_null(kind):
        return Operand(source, Kind.NULL, expression)
    if is_type.is_boolean(kind):
        return Operand(source, Kind.BOOLEAN, expression)
    if is_type.is_integer(kind) and kind != pa.uint64():  # Arrow compares other integers as int64
        return Operand(source, Kind.NUMBER, expression, is_integer=True)
    if is_type.is_integer(kind) or is_type.is_floating(kind) or is_type.is_decimal(kind):
        return Operand(source, Kind.NUMBER, drop_nan(expression.cast(pa.float64(), safe=False)))
    if is_type.is_string(kind) or is_type.is_large_string(kind):
        return Operand(source, Kind.TEXT, expression)
    if is_type.is_timestamp(kind) or is_type.is_date(kind) or is_type.is_time(kind):
        return Operand(source, Kind.TIME, expression, time_type=kind)
    if is_type.is_list(kind) and is_type.is_string(kind.value_type):
        return Operand(source, Kind.TEXTS, expression)
    return Operand(source, Kind.OTHER, expression)


def drop_nan(expression: Any) -> Any:
    """Return an expression with null instead of NaN, so that both count as missing."""
    return pc.if_else(pc.is_nan(expression), pa.scalar(None, pa.float64()), expression)


def compare(left: Operand, comparison: ast.cmpop, right: Operand) -> Any:
    """Compare two values; null if one is missing, unless the other is the constant null."""
    for value, other in ((left, right), (right, left)):
        if value.expression is None:
            return _compare_with_null(other, comparison)
    if type(comparison) not in ORDER | EQUALITY:
        raise ValueError(f"{right.source} follows is; expected null there: write == for other values")
    if Kind.NULL in (left.kind, right.kind):  # a column without values
        return _unknown()

    left, right = _convert_time(left, right), _convert_time(right, left)
    if unordered := next((value for value in (left, right) if value.kind in (Kind.TEXTS, Kind.OTHER)), None):
        raise ValueError(
            f'{unordered.source} is {unordered.kind}; expected {left.source} == null, or contains(x, "text") for lists'
        )
    if left.kind is not right.kind:
        problem = f"{left.source} is {left.kind} and {right.source} is {right.kind}; expected values of one kind"
        raise ValueError(f"{problem} (CSV columns are text; Parquet and JSON Lines have types)")
    if left.kind is Kind.BOOLEAN and type(comparison) in ORDER:
        raise ValueError(f"{left.source} is {left.kind}, which has no order; expected == or !=")
    if left.time_type != right.time_type:
        types = f"{left.source} is {left.time_type} and {right.source} is {right.time_type}"
        raise ValueError(f"{types}; expected times of one type")
    return (ORDER | EQUALITY)[type(comparison)](*_align_numbers(left, right))


def find_in(value: Operand, entries: Sequence[Operand]) -> Any:
    """Return whether a value equals one of some constants; null if it is missing."""
    entries = [_convert_time(entry, value) for entry in entries]
    for entry in entries:
        if entry.constant is None:
            raise ValueError(f"{entry.source} is in a list; expected constants there, and == null for missing values")
        if entry.kind is not value.kind and value.kind is not Kind.NULL:
            raise ValueError(f"{entry.source} is {entry.kind} and {value.source} is {value.kind}; expected one kind")
    if value.kind is Kind.NULL:
        return _unknown()

    if value.kind is Kind.TEXT:
        texts = pa.array([entry.constant for entry in entries], pa.string())
        equal = value.expression.cast(pa.string()).isin(texts)
    else:
        equals = (operator.eq(*_align_numbers(value, entry)) for entry in entries)
        equal = functools.reduce(operator.or_, equals, pc.scalar(False))
    return pc.if_else(value.expression.is_valid(), equal, pa.scalar(None, pa.bool_()))


def search(function: str, value: Operand, text: Operand) -> Any:
    """Search a text for a constant one, or the texts of a list; null if it is missing.

    Args:
        function: key in `SEARCHES`.
        value: text, or for `contains` a list of texts.
        text: constant.
    """
    if not isinstance(text.constant, str):
        raise ValueError(f"{text.source} is not a constant text; expected text in quotation marks")
    if value.kind is Kind.NULL:
        return _unknown()
    if value.kind is Kind.TEXTS and function == "contains":
        return pc.match_substring(pc.binary_join(value.expression, SEPARATOR), text.constant)
    return SEARCHES[function](value.require(Kind.TEXT), text.constant)


def _align_numbers(left: Operand, right: Operand) -> tuple[Any, Any]:
    """Return the expressions of two values; if one is an integer and the other is not, both as floats.

    Arrow would convert the integer itself, and fail on those that a float does not hold exactly.
    """
    if left.kind is right.kind is Kind.NUMBER and left.is_integer != right.is_integer:
        return left.number, right.number
    return left.expression, right.expression


def _unknown() -> Any:
    """Return the expression of a value that is neither true nor false."""
    return pc.scalar(pa.scalar(None, pa.bool_()))  # imports pandas, which workers do without


def _compare_with_null(operand: Operand, comparison: ast.cmpop) -> Any:
    if operand.expression is None:
        raise ValueError("null is compared with null; expected a column")
    if isinstance(comparison, ast.Eq | ast.Is):
        return operand.expression.is_null()
    if isinstance(comparison, ast.NotEq | ast.IsNot):
        return operand.expression.is_valid()
    raise ValueError("null has no order; expected == null or != null")


def _convert_time(operand: Operand, other: Operand) -> Operand:
    """Convert a constant text that is compared with a time."""
    if other.time_type is None or not isinstance(operand.constant, str):
        return operand
    kind = other.time_type
    without_zone = pa.timestamp(kind.unit) if is_type.is_timestamp(kind) else kind
    for written_type in (kind, without_zone):
        try:
            scalar = pa.scalar(operand.constant).cast(written_type)
        except pa.ArrowException:
            continue
        if written_type != kind:  # a time without a zone is in UTC
            scalar = scalar.cast(pa.int64()).cast(kind)
        return Operand(operand.source, Kind.TIME, pc.scalar(scalar), operand.constant, kind)
    raise ValueError(f"{operand.source} is not a time; expected one such as 2026-01-31 or 2026-01-31 12:30:00")
