"""Base class and errors of network configurations."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from joyvasa.errors import ConfigError

MAX_LAYERS = 1000  # more would take minutes to build, and no file holds their weights
_COUNTS_LAYERS = re.compile(r"(^|_)(blocks|layers|levels|depths)$")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes of a network: whole numbers of at least 1, or tuples of them; lists become tuples.

    Numbers of blocks and layers are at most `MAX_LAYERS`.

    Raises:
        ConfigError: `bad_network_size`.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, field.name, value)

            sizes = value if isinstance(value, tuple) else (value,)
            if not sizes or not all(type(size) is int and size >= 1 for size in sizes):
                kind = "whole numbers" if isinstance(value, tuple) else "a whole number"
                raise size_error(self, field.name, repr(value), f"{kind} of at least 1")
            if _COUNTS_LAYERS.search(field.name) and max(sizes) > MAX_LAYERS:
                raise size_error(self, field.name, repr(value), f"at most {MAX_LAYERS}")


def size_error(config: object, field: str, found: str, expected: str) -> ConfigError:
    """Return the error for a bad field of a configuration."""
    return ConfigError(
        "bad_network_size",
        f"{type(config).__name__}.{field}: found {found}; expected {expected}: correct the network's configuration",
    )
