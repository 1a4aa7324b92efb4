"""Base class of network configurations."""

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
                raise ConfigError(
                    "bad_network_size",
                    f"{type(self).__name__}.{field.name}: found {value!r}; expected "
                    f"{'whole numbers' if isinstance(value, tuple) else 'a whole number'} of at least 1: "
                    "correct the network's configuration",
                )
