"""Convert validation errors of pydantic to sentences: what was found, what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

SHOWN_CHARACTERS = 60  # maximum length of an invalid value in a sentence
PLAIN_TYPES = ("bool", "int", "float", "str")  # pydantic's names of union members; others contain brackets

# Expected values by pydantic's error type; braces are filled from the context of the error.
EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
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
    """Return one sentence per invalid entry of a content that pydantic validated; `root` names the whole content."""
    # Pydantic reports an error per union member; they belong to one entry, and the deepest path is the best match.
    entries: dict[tuple[str, ...], list[tuple[tuple[str, ...], ErrorDetails]]] = {}
    for item in error.errors():
        entry, path = _resolve_location(item["loc"], content)
        entries.setdefault(entry, []).append((path, item))

    sentences = []
    for errors in entries.values():
        deepest = max((path for path, _ in errors), key=len)
        items = [item for path, item in errors if path == deepest]
        sentences.append(_format_sentence(".".join(deepest) or root, items))
    return sentences


def _resolve_location(location: Sequence[int | str], content: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the path of the entry and the full path of an error location, without names of union members."""
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


def _format_sentence(name: str, items: Sequence[ErrorDetails]) -> str:
    kind, context = items[0]["type"], items[0].get("ctx", {})
    if kind == "missing":
        return f"{name} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name} is unknown: remove it"
    if kind == "value_error":
        return f"{name}: {context['error']}"
    expected = ", or ".join(dict.fromkeys(map(_describe_expected, items)))
    return f"{name} is {format_value(items[0]['input'])}; expected {expected}"


def _describe_expected(item: ErrorDetails) -> str:
    context: dict[str, Any] = item.get("ctx", {})
    if item["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    phrase = EXPECTED.get(item["type"])
    return item["msg"] if phrase is None else phrase.format(**context)


def format_value(value: object) -> str:
    """Format a value, on one line of limited length, as JSON has it where Python's notation differs."""
    plain = value is None or isinstance(value, bool | date)
    text = json.dumps(value, default=str) if plain else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
