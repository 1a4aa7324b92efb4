"""Conditions on the rows of a table, such as `sync_c >= 3 and voice in ["anna", "ben"]`.

The grammar is a part of Python's expressions. `ast` parses the text, and nothing in it is executed: each node becomes
an Arrow expression or is refused.

    values       columns, numbers, "text", true, false, null; `odd name` in backquotes
    arithmetic   + - * / abs(x), in 64-bit floats
    comparisons  == != < <= > >= and chains of them; x in [...], x not in [...]
    missing      x == null, x != null, x is null, x is not null
    text         startswith(x, "text"), contains(x, "text")
    logic        and, or, not, parentheses

A comparison with a missing value (null or NaN) is neither true nor false, as in SQL, and a row stays only if its
condition is true: `x < 3` and `not x < 3` both drop a row without `x`.
"""

from __future__ import annotations

import ast
import difflib
import functools
import json
import operator
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as is_type

from joyvasa.errors import InputError
from joyvasa.runtime.arrow_text import escape_text
from manifests.operands import SEARCHES, Kind, Operand, compare, drop_nan, find_in, make_column, make_constant, search
from manifests.problems import safe_text

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
MAX_CHARACTERS = 10_000  # length of a condition; a list of some hundred ids fits
MAX_DEPTH = 100  # nesting of a condition; limits the recursion here and in Arrow
MAX_NAMES = 30  # number of columns that an error lists
SUGGESTIONS = 3  # number of similar names that an error suggests
CONSTANTS = {"null": None, "true": True, "false": False}  # as in SQL and JSON
ARITHMETIC = {ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Div: pc.divide}
EXAMPLE = 'duration_s >= 2 and mode == "human"'
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`([^`]*)`""", re.DOTALL)


@dataclass(frozen=True)
class NamedColumns:
    """The columns that a condition can name."""

    schema: pa.Schema  # schema of the table
    # further names of columns; they take precedence over names in the schema
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> str:
        """Return the column with a name.

        Raises:
            InputError: `column_unknown`, with the most similar names.
        """
        if name in self.aliases:
            return self.aliases[name]
        if name in self.schema.names:
            return name
        others = (column for column in self.schema.names if column not in self.aliases.values())
        names = [*dict.fromkeys([*self.aliases, *others])]
        similar = difflib.get_close_matches(name, names, n=SUGGESTIONS)
        if similar:
            hint = f"did you mean {' or '.join(map(safe_text, similar))}?"
        else:
            more = ", ..." if len(names) > MAX_NAMES else ""
            hint = f"expected one of {', '.join(map(safe_text, names[:MAX_NAMES]))}{more}"
        raise InputError("column_unknown", f"no column {safe_text(name)}; {hint}")


@dataclass(frozen=True)
class Condition:
    """A condition on the rows of a table."""

    text: str  # condition as written
    columns: tuple[str, ...]  # columns that it reads
    expression: Any  # condition as an Arrow expression; null where a value is missing

    def evaluate(self, table: pa.Table) -> pa.ChunkedArray:
        """Evaluate the condition for each row: true, false, or null where a value is missing.

        Texts that are not UTF-8 have the values that reports and exports show.

        Args:
            table: table with the columns of the condition.
        """
        import pyarrow.dataset as ds  # imports pandas, which workers do without

        table = table.select(self.columns)
        for index, entry in enumerate(table.schema):
            if is_type.is_string(entry.type):
                table = table.set_column(index, entry, escape_text(table.column(index)))
        return ds.dataset(table).to_table(columns={"result": self.expression}).column(0)


def parse_condition(text: str, columns: NamedColumns) -> Condition:
    """Parse a condition and check its columns and types.

    Args:
        text: condition; see the module for its grammar.
        columns: columns that it can name.

    Raises:
        InputError: `condition_invalid` or `column_unknown`.
    """
    shown = safe_text(text, 200)
    try:
        parser = _Parser(text, columns)
        expression = parser.parse()
        condition = Condition(text, (*parser.columns,), expression)
        condition.evaluate(columns.schema.empty_table())  # Arrow checks the types, too
    except InputError as error:
        raise InputError(error.code, f"{shown}: {error.sentence}") from None
    except pa.ArrowException as error:
        raise InputError("condition_invalid", f"{shown}: cannot be computed ({safe_text(error, 200)})") from None
    except ValueError as error:
        raise InputError("condition_invalid", f"{shown}: {error}") from None
    return condition


def quote_text(text: str) -> str:
    """Return a text as a constant of a condition."""
    return json.dumps(text, ensure_ascii=False)


def quote_column(name: str) -> str:
    """Return the name of a column in a condition."""
    plain = all(part.isidentifier() and not iskeyword(part) for part in name.split(".")) and name not in CONSTANTS
    return name if plain else f"`{name}`"


class _Parser:
    """Translates one condition; raises ValueError with a sentence if it is invalid.

    Attributes:
        columns: columns that the condition reads.
    """

    def __init__(self, text: str, names: NamedColumns) -> None:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"has {len(text):,} characters; expected at most {MAX_CHARACTERS:,}")
        self.columns: dict[str, None] = {}
        self._names = names
        self._depth = 0
        self._quoted: dict[str, str] = {}  # columns in backquotes, by the name that replaces them
        self._prefix = "quoted_"
        while self._prefix in text:
            self._prefix += "_"
        self._code = re.sub(r"[\r\n]", " ", _QUOTED.sub(self._replace_quoted, text)).strip()

    def parse(self) -> Any:
        """Return the condition as an Arrow expression."""
        try:
            with warnings.catch_warnings(action="ignore"):  # about unusual escapes in texts
                tree = ast.parse(self._code, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else "not valid text"
            hint = " (equality is ==)" if re.search("[^=!<>]=[^=]", self._code) else ""
            raise ValueError(f"is not a condition ({reason}); expected one such as {EXAMPLE}{hint}") from None
        result = self._translate(tree.body)
        if result.kind is not Kind.BOOLEAN or not self.columns:
            raise ValueError(f"is no comparison of a column; expected a condition such as {EXAMPLE}")
        return result.expression

    def _replace_quoted(self, match: re.Match[str]) -> str:
        if match[1] is None:  # text in quotation marks
            return match[0]
        name = f"{self._prefix}{len(self._quoted)}_"
        self._quoted[name] = match[1]
        return name

    def _source(self, node: ast.AST) -> str:
        """Return the text of a part as the user wrote it, shortened."""
        text = ast.get_source_segment(self._code, node) or self._code
        for name, column in self._quoted.items():
            text = text.replace(name, f"`{column}`")
        return safe_text(text)

    def _translate(self, node: ast.expr) -> Operand:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep; expected fewer: simplify it")
        operand = self._translate_node(node)
        self._depth -= 1
        return operand

    def _translate_node(self, node: ast.expr) -> Operand:
        source = self._source(node)
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return make_constant(value, source)
            case ast.Name() | ast.Attribute():
                return self._find_column(node, source)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return make_constant(-value, source)
            case ast.UnaryOp(op=ast.USub(), operand=value):
                return Operand(source, Kind.NUMBER, pc.negate(self._translate(value).number))
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, right=right):
                result = ARITHMETIC[type(op)](self._translate(left).number, self._translate(right).number)
                return Operand(source, Kind.NUMBER, drop_nan(result))
            case ast.UnaryOp(op=ast.Not(), operand=value):
                return Operand(source, Kind.BOOLEAN, ~self._translate(value).require(Kind.BOOLEAN))
            case ast.BoolOp(op=op, values=values):
                join = operator.and_ if isinstance(op, ast.And) else operator.or_
                parts = [self._translate(value).require(Kind.BOOLEAN) for value in values]
                return Operand(source, Kind.BOOLEAN, functools.reduce(join, parts))
            case ast.Compare(left=left, ops=ops, comparators=others):
                steps = zip([left, *others], ops, others, strict=False)
                parts = [self._compare(*step) for step in steps]
                return Operand(source, Kind.BOOLEAN, functools.reduce(operator.and_, parts))
            case ast.Call(func=ast.Name(id="abs"), args=[value], keywords=[]):
                return Operand(source, Kind.NUMBER, pc.abs(self._translate(value).number))
            case ast.Call(func=ast.Name(id=name), args=[value, text], keywords=[]) if name in SEARCHES:
                return Operand(source, Kind.BOOLEAN, search(name, self._translate(value), self._translate(text)))
        functions = 'abs(x), startswith(x, "text"), contains(x, "text")'
        raise ValueError(f"{source} is not allowed; expected columns, constants, + - * /, comparisons, in, {functions}")

    def _compare(self, left: ast.expr, comparison: ast.cmpop, right: ast.expr) -> Any:
        value = self._translate(left)
        if not isinstance(comparison, ast.In | ast.NotIn):
            return compare(value, comparison, self._translate(right))
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise ValueError(f'{self._source(right)} is not a list; expected x in [...], or contains(x, "text")')
        found = find_in(value, [self._translate(node) for node in right.elts])
        return found if isinstance(comparison, ast.In) else ~found

    def _find_column(self, node: ast.expr, source: str) -> Operand:
        """Translate the name of a column, which may contain dots, or of a constant."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise ValueError(f"{source} is not allowed; expected the name of a column")
        if not parts and node.id in CONSTANTS:
            return make_constant(CONSTANTS[node.id], source)
        name = ".".join([self._quoted.get(node.id, node.id), *parts])
        column = self._names.find(name)
        self.columns[column] = None
        return make_column(column, self._names.schema.field(column).type, source)


class RowFilter:
    """Select rows by conditions on their columns, up to a limit.

    Args:
        conditions: conditions that all rows must meet, see `expressions`.
        limit: maximum number of rows; None for all.
        columns: columns that conditions can name.

    Attributes:
        left_out: number of rows before the limit that do not meet the conditions.

    Raises:
        InputError: `condition_invalid` or `column_unknown`.
    """

    def __init__(self, conditions: Sequence[str], limit: int | None, columns: NamedColumns) -> None:
        self._conditions = [parse_condition(text, columns) for text in conditions]
        self._remaining = limit
        self.left_out = 0

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached, so that further rows need not be read."""
        return self._remaining == 0

    def select(self, table: pa.Table) -> tuple[pa.Table, int]:
        """Select rows of a table.

        Returns:
            The selected rows, and the number of rows up to the last selected one if the limit is reached, else of all.
        """
        indices = pa.array(range(table.num_rows), pa.int64())
        selected = table
        for condition in self._conditions:
            mask = condition.evaluate(selected)
            selected, indices = selected.filter(mask), indices.filter(mask.combine_chunks())

        n_read = table.num_rows
        if self._remaining is not None:
            if len(indices) >= self._remaining:
                selected, indices = selected.slice(0, self._remaining), indices.slice(0, self._remaining)
                n_read = indices[-1].as_py() + 1 if len(indices) else 0
            self._remaining -= len(indices)
        self.left_out += n_read - len(indices)
        return selected, n_read
