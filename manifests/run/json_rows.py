"""Rows of Arrow tables as values that JSON can hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as is_type

from joyvasa.runtime.arrow_text import decode_text, format_values, is_utf8
from joyvasa.runtime.json_text import replace_infinite
from manifests.formats.plain_types import plain_batch

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


class JsonRows:
    """Converts the rows of tables to values for JSON; a value that JSON cannot hold becomes text.

    NaN and infinite numbers become `NaN`, `Infinity`, `-Infinity`; for others see `format_values`. Values that Python's
    types cannot hold, such as the year 0, are converted too.

    Attributes:
        columns_as_text: names of the columns in which a value became text.
    """

    def __init__(self) -> None:
        self.columns_as_text: dict[str, None] = {}

    def convert(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table."""
        for batch in map(plain_batch, table.to_batches()):
            names, columns = batch.schema.names, []
            for name, array in zip(names, batch.columns, strict=True):
                values, as_text = _convert(array)
                columns.append(values)
                if as_text:
                    self.columns_as_text[name] = None
            for row in zip(*columns, strict=True):
                yield dict(zip(names, row, strict=True))


def _convert(array: pa.Array) -> tuple[list[Any], bool]:
    """Return the values of an array, and whether one of them became text."""
    kind = array.type
    if is_type.is_null(kind) or is_type.is_boolean(kind) or is_type.is_integer(kind):
        return array.to_pylist(), False
    if is_type.is_floating(kind):
        values = [replace_infinite(value) for value in array.to_pylist()]
        return values, any(isinstance(value, str) for value in values)
    if is_type.is_string(kind) or is_type.is_large_string(kind):
        values = decode_text(array)
        return values, any(value is not None and "\\" in value for value in values) and not is_utf8(array)
    if is_type.is_struct(kind):
        return _convert_struct(array)
    if is_type.is_list(kind) or is_type.is_large_list(kind) or is_type.is_fixed_size_list(kind):
        return _convert_lists(array)
    if is_type.is_map(kind):
        return _convert_maps(array)
    if isinstance(kind, pa.BaseExtensionType) and kind != pa.uuid():
        return _convert(array.storage)
    return format_values(array), array.null_count < len(array)


def _convert_struct(array: pa.StructArray) -> tuple[list[Any], bool]:
    names = [entry.name for entry in array.type]
    fields = [_convert(array.field(index)) for index in range(len(names))]
    rows = zip(*(values for values, _ in fields), strict=True) if fields else [()] * len(array)
    build = dict if len({*names}) == len(names) else list  # pairs, if a name occurs twice
    values = [
        build(zip(names, row, strict=True)) if valid else None
        for row, valid in zip(rows, array.is_valid().to_pylist(), strict=True)
    ]
    return values, any(as_text for _, as_text in fields)


def _convert_lists(array: Any) -> tuple[list[Any], bool]:
    lengths = pc.list_value_length(array).to_pylist()  # None for null
    entries, as_text = _convert(array.flatten())
    remaining = iter(entries)
    return [None if length is None else [*islice(remaining, length)] for length in lengths], as_text


def _convert_maps(array: pa.MapArray) -> tuple[list[Any], bool]:
    """Convert maps to lists of pairs, because a key may be no text or occur twice."""
    (keys, keys_as_text), (items, items_as_text) = _convert(array.keys), _convert(array.items)
    ranges = zip(pairwise(array.offsets.to_pylist()), array.is_valid().to_pylist(), strict=True)
    values = [[[keys[n], items[n]] for n in range(*bounds)] if valid else None for bounds, valid in ranges]
    return values, keys_as_text or items_as_text
