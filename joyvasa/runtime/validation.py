"""Sentences for what pydantic refuses, in the form of all our errors: what was found, what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

SHOWN_CHARACTERS = 60  # of a wrong value
PLAIN_TYPES = ("bool", "int", "float", "str")  # pydantic's names of alternatives, beside those with brackets

# By pydantic's type of error; braces are filled from its context.
EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "text",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "tuple_type": "a list",
}


def explain_validation_error(error: ValidationError, content: object, *, root: str) -> list[str]:
    """Return a sentence for each refused entry.

    Args:
        error: what pydantic raised.
        content: what was validated.
        root: name of the content as a whole.
    """
    # Every alternative of a union has an error of its own: they belong to one entry. One that is deeper fitted better.
    entries: dict[tuple[str, ...], list[tuple[tuple[str, ...], ErrorDetails]]] = {}
    for item in error.errors():
        entry, path = _paths(item["loc"], content)
        entries.setdefault(entry, []).append((path, item))
    sentences = []
    for found in entries.values():
        deepest = max((path for path, _ in found), key=len)
        items = [item for path, item in found if path == deepest]
        sentences.append(_sentence(".".join(deepest) or root, items))
    return sentences


def _paths(location: Sequence[int | str], content: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split pydantic's location into the path of the entry and the whole path, without names of alternatives."""
    entry: tuple[str, ...] | None = None
    path: list[str] = []
    for part in location:
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(part, int):
            content = content[part] if isinstance(content, Sequence) and part < len(content) else None
        elif "[" in part or part in PLAIN_TYPES:
            entry = entry or tuple(path)
            continue
        path.append(str(part))
    return (tuple(path) if entry is None else entry), tuple(path)


def _sentence(name: str, items: Sequence[ErrorDetails]) -> str:
    kind, context = items[0]["type"], items[0].get("ctx", {})
    if kind == "missing":
        return f"{name} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name} is unknown: remove it"
    if kind == "value_error":
        return f"{name}: {context['error']}"
    expected = ", or ".join(dict.fromkeys(map(_expected, items)))
    return f"{name} is {_shown(items[0]['input'])}; expected {expected}"


def _expected(item: ErrorDetails) -> str:
    context: dict[str, Any] = item.get("ctx", {})
    if item["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    phrase = EXPECTED.get(item["type"])
    return item["msg"] if phrase is None else phrase.format(**context)


def _shown(value: object) -> str:
    """Format a value as YAML has it, on one line of limited length."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
