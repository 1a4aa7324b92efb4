"""Text for values of Arrow columns, also for those that Python's types cannot hold."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type


def decode_text(array: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """Return texts; bytes that are not UTF-8 are escaped."""
    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        values = array.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "backslashreplace") for value in values]


def is_utf8(array: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether all texts of a column are UTF-8."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def escape_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of texts in which bytes that are not UTF-8 are escaped as by `decode_text`."""
    return column if is_utf8(column) else pa.chunked_array([decode_text(column)], column.type)


def format_values(array: Any) -> list[str | None]:
    """Return the values of an array or chunked array as texts.

    Times are written as Arrow prints them, in UTC if their zone is unknown; binary values in Base64; text that is not
    UTF-8 with escaped bytes.

    Raises:
        pa.ArrowNotImplementedError: the type is nested.
    """
    kind = array.type
    if is_type.is_timestamp(kind) and kind.tz:
        return _format_zoned(array)
    if is_type.is_duration(kind):
        return [None if n is None else f"{n} {kind.unit}" for n in array.cast(pa.int64()).to_pylist()]
    if is_type.is_binary(kind) or is_type.is_large_binary(kind) or is_type.is_fixed_size_binary(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in array.to_pylist()]
    if kind == pa.uuid():
        return [None if value is None else str(value) for value in array.to_pylist()]
    return decode_text(array.cast(pa.string()))


def _format_zoned(array: Any) -> list[str | None]:
    unit = array.type.unit
    in_utc = array.cast(pa.timestamp(unit)).cast(pa.string()).to_pylist()
    try:
        texts = array.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid:  # unknown time zone
        texts = array.cast(pa.timestamp(unit, "UTC")).cast(pa.string()).to_pylist()
    # With a time zone, Arrow prints years beyond 32767 wrongly; without one, it states the number.
    return [utc if utc and utc.startswith("<") else text for utc, text in zip(in_utc, texts, strict=True)]
