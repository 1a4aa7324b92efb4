"""Parsing of YAML and JSON from files that may be damaged: the only exception is a ValueError with one line."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, BinaryIO

import yaml

MAX_DEPTH = 100  # levels of nesting; the C parser recurses without a limit of its own
MAX_FILE_BYTES = 4 << 20  # options, profiles and descriptions have some kilobytes
MAX_BITS = 1023  # of a whole number, which then fits into a float; Python prints at most 4300 digits
# Exceptions of PyYAML besides its own, for a value that does not fit its tag or is nested too deeply.
_PARSER_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_limited(stream: BinaryIO) -> bytes:
    """Read a file that people write, which may be a device without an end.

    Raises:
        ValueError: the file has more than `MAX_FILE_BYTES`.
    """
    data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"has more than {MAX_FILE_BYTES >> 20} MiB")
    return data


def parse_yaml(data: str | bytes) -> Any:
    """Parse YAML without running code.

    Raises:
        ValueError: not YAML, a value that does not exist (February 30), a key that occurs twice, or an alias, because a
            few lines of aliases can expand to gigabytes; or nested in more than `MAX_DEPTH` levels.
    """
    try:
        depth = 0
        for event in yaml.parse(data, Loader=_PlainLoader):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed in this format")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(f"nested in more than {MAX_DEPTH} levels")
        return yaml.load(data, Loader=_PlainLoader)  # _PlainLoader is a SafeLoader
    except _PARSER_ERRORS as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def parse_json(data: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C is 15 times as fast


class _PlainLoader(_Loader):
    """YAML loader that rejects duplicate keys and numbers that Python cannot print."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        duplicates = {name for name, count in names.items() if count > 1}
        if duplicates:
            raise yaml.YAMLError(f"key {min(duplicates)!r} occurs twice")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        number = super().construct_yaml_int(node)
        if number.bit_length() > MAX_BITS:
            raise yaml.YAMLError(f"a number of {number.bit_length()} bits")
        return number


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
