"""Typed configurations, loaded from defaults, a YAML file and `key=value` settings."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from joyvasa.errors import ConfigError, suggest_name
from joyvasa.runtime.parsing import parse_yaml, read_limited
from joyvasa.runtime.validation import explain_validation_error, format_value

T = TypeVar("T")
OptionValue: TypeAlias = float | int | bool | str
Options: TypeAlias = tuple[tuple[str, OptionValue], ...]
"""Names and values of options, sorted by name."""

MAX_WHOLE_NUMBER = 2**63 - 1
MAX_SHOWN = 200  # characters of a setting, or of a message of the YAML parser


def ranged(default: float | None, low: float, high: float, unit: str) -> Any:
    """Declare a numeric option with its range and unit, which the JSON Schema of the options states.

    The default is None if the option may be null.
    """
    return field(default=default, metadata={"ge": low, "le": high, "json_schema_extra": {"unit": unit}})


def check_ranges(config: Any, prefix: str = "") -> None:
    """Check the options that `ranged` declares.

    Raises:
        ConfigError: `config_invalid`.
    """
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if "ge" not in entry.metadata or value is None:
            continue
        if not entry.metadata["ge"] <= value <= entry.metadata["le"]:
            raise ConfigError("config_invalid", f"{prefix}{entry.name} is {value}; expected {format_range(entry)}")


class RangedOptions:
    """Base class of a group of options that checks the ranges that `ranged` declares.

    Raises:
        ConfigError: `config_invalid`.
    """

    _group = ""  # path of the group in errors, with a dot at its end

    def __post_init__(self) -> None:
        check_ranges(self, self._group)


def format_range(entry: dataclasses.Field[Any]) -> str:
    """Return the range of an option as text, such as `-30 to 30 degrees`; empty if it has none."""
    if "ge" not in entry.metadata:
        return ""
    unit = entry.metadata["json_schema_extra"]["unit"]
    return f"{entry.metadata['ge']:g} to {entry.metadata['le']:g} {unit}"


def load_config(
    kind: type[T],
    *,
    preset: Mapping[str, Any] | None = None,
    file: Path | None = None,
    settings: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> T:
    """Load a configuration: defaults, overridden by a preset, a YAML file, settings and flags, in this order.

    Args:
        kind: frozen dataclass with a default for every field; fields may be such dataclasses.
        preset: any part of the tree of options.
        file: YAML file with any part of the tree of options.
        settings: `key=value` strings with dots between levels, for example `crop.scale=2.0`; values are YAML.
        flags: plain values by such a key.

    Raises:
        ConfigError: `config_unreadable`, `config_unknown_option` or `config_invalid`.
    """
    tree = dataclasses.asdict(kind())  # type: ignore[call-overload]  (a dataclass by contract)
    if preset is not None:
        _merge(kind, tree, preset, where="preset", prefix="")
    if file is not None:
        _merge(kind, tree, _read(file), where=str(file), prefix="")

    for setting in settings:
        key, equals, text = setting.partition("=")
        where = f"--set {setting if len(setting) <= MAX_SHOWN else setting[: MAX_SHOWN - 1] + '…'}"
        if not equals:
            raise ConfigError("config_invalid", f"{where}: no '='; expected key=value, such as seed=3")
        _merge(kind, tree, _nest(key, _parse(text, where)), where=where, prefix="")
    for key, value in (flags or {}).items():
        _merge(kind, tree, _nest(key, value), where=key, prefix="")

    return _validated(kind, tree)


def _nest(key: str, value: Any) -> Any:
    """Return a tree of options with one value."""
    for name in reversed(key.strip().split(".")):
        value = {name: value}
    return value


def config_from_dict(kind: type[T], content: Mapping[str, Any], *, where: str = "configuration") -> T:
    """Build a configuration from a mapping such as `config_to_dict` returns. Missing options keep their defaults.

    Raises:
        ConfigError: `config_unknown_option` or `config_invalid`.
    """
    tree = dataclasses.asdict(kind())  # type: ignore[call-overload]  (a dataclass by contract)
    _merge(kind, tree, content, where=where, prefix="")
    return _validated(kind, tree)


@lru_cache(4096)
def apply_options(config: T, options: Options) -> T:
    """Return a configuration, or a group of its options, in which some options have other values.

    Raises:
        ConfigError: an option is out of range, or in conflict with another one.
    """
    groups: dict[str, list[tuple[str, OptionValue]]] = {}
    changes: dict[str, Any] = {}
    for name, value in options:
        group, _, rest = name.partition(".")
        if rest:
            groups.setdefault(group, []).append((rest, value))
        else:
            changes[name] = value
    for group, entries in groups.items():
        changes[group] = apply_options(getattr(config, group), tuple(entries))
    return dataclasses.replace(cast(Any, config), **changes) if changes else config


def _validated(kind: type[T], tree: dict[str, Any]) -> T:
    for key, value in iterate_options(tree):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError("config_invalid", f"{key} is {value}; expected a finite number")
        if isinstance(value, int) and abs(value) > MAX_WHOLE_NUMBER:
            raise ConfigError("config_invalid", f"{key} is {value}; expected a whole number below 2^63")
    try:
        config = _adapter(kind).validate_python(tree)
    except ValidationError as error:
        raise ConfigError("config_invalid", explain_validation_error(error, tree, root="configuration")[0]) from None

    # What pydantic converts to a number: `true`, and text such as 1e400.
    found = dict(iterate_options(tree))
    for key, value in iterate_options(config_to_dict(config)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError("config_invalid", f"{key} is {found.get(key)}; expected a finite number")
        if isinstance(found.get(key), bool) and not isinstance(value, bool):
            raise ConfigError("config_invalid", f"{key} is {json.dumps(found[key])}; expected a number")
    return config


@lru_cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Build the validator of a configuration, which takes longer than its use."""
    return TypeAdapter(kind)


def dump_config(config: Any) -> str:
    """Serialize a configuration to YAML that `load_config` can read."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False)


def config_to_dict(config: Any) -> dict[str, Any]:
    """Convert a configuration to nested dictionaries, lists, numbers and strings."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: convert(item) for key, item in value.items()}
        return [convert(item) for item in value] if isinstance(value, tuple) else value

    return convert(dataclasses.asdict(config))


def iterate_options(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the options in nested dictionaries, by their names with dots."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from iterate_options(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(kind: Any, tree: dict[str, Any], changes: Mapping[str, Any], *, where: str, prefix: str) -> None:
    """Merge changes into the tree of a configuration class.

    Args:
        kind: the class; its fields may be such classes, or mappings from names to such classes.
        tree: option values, modified in place.
        changes: mapping with any part of the tree.
        where: source of the changes, for errors.
        prefix: path of the tree, ending with a dot.
    """
    options = get_type_hints(kind)
    for key, value in changes.items():
        if key not in options:
            hint = _suggest_option(kind, str(key), prefix)
            raise ConfigError("config_unknown_option", f"{where}: no option {prefix}{key}; {hint}")

        inner = options[key]
        is_group, is_mapping = dataclasses.is_dataclass(inner), get_origin(inner) is Mapping
        if (is_group or is_mapping) and not isinstance(value, Mapping):
            problem = f"{where}: {prefix}{key} is {format_value(value)}; expected a mapping of options"
            raise ConfigError("config_invalid", problem)
        if is_group:
            _merge(inner, tree[key], value, where=where, prefix=f"{prefix}{key}.")
        elif is_mapping:
            for name, part in value.items():
                path = f"{prefix}{key}.{name}"
                if not isinstance(part, Mapping):
                    problem = f"{where}: {path} is {format_value(part)}; expected a mapping of options"
                    raise ConfigError("config_invalid", problem)
                _merge(get_args(inner)[1], tree[key].setdefault(name, {}), part, where=where, prefix=f"{path}.")
        else:
            tree[key] = value


def _suggest_option(kind: Any, name: str, prefix: str) -> str:
    """Suggest the option in a group that has the name, for example `sampling.cfg_scale`, or the closest name."""
    nested = [path for path in _list_paths(kind) if path.endswith(f".{name}")]
    if len(nested) == 1:
        return f"did you mean {prefix}{nested[0]}?"
    return suggest_name(name, get_type_hints(kind), prefix=prefix)


def _list_paths(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the paths of all groups and options of a configuration class."""
    for name, hint in get_type_hints(kind).items():
        yield f"{prefix}{name}"
        if dataclasses.is_dataclass(hint):
            yield from _list_paths(hint, f"{prefix}{name}.")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            text = read_limited(stream).decode()
    except (OSError, ValueError) as error:
        raise ConfigError("config_unreadable", f"{file}: cannot be read ({error})") from None
    content = _parse(text, str(file)) or {}
    if not isinstance(content, Mapping):
        raise ConfigError(
            "config_invalid", f"{file}: contains a {type(content).__name__}; expected a mapping of options"
        )
    return content


def _parse(text: str, where: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ConfigError("config_invalid", f"{where}: not valid YAML ({str(error)[:MAX_SHOWN]})") from None
