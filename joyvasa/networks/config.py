"""Base class and errors of network configurations."""

from __future__ import annotations

from dataclasses import dataclass, fields

from joyvasa.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes of a network: whole numbers of at least 1, or tuples of them; lists become tuples.

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


def size_error(config: object, field: str, found: str, expected: str) -> ConfigError:
    """Return the error for a bad field of a configuration."""
    return ConfigError(
        "bad_network_size",
        f"{type(config).__name__}.{field}: found {found}; expected {expected}: correct the network's configuration",
    )
