"""JSON text that every reader accepts: RFC 8259 has neither NaN nor infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def format_json(value: Any, **options: Any) -> str:
    """Format a value as JSON; NaN and infinite numbers become text, see `replace_infinite`.

    Args:
        value: plain value whose keys are text.
        options: options of `json.dumps`.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:  # rare, so that other values are not copied
        return json.dumps(replace_infinite(value), allow_nan=False, **options)


def replace_infinite(value: Any) -> Any:
    """Return a JSON value in which NaN and infinite numbers are the texts `NaN`, `Infinity` and `-Infinity`."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return [replace_infinite(entry) for entry in value]
    return {name: replace_infinite(entry) for name, entry in value.items()} if isinstance(value, dict) else value
