"""The command that does in a shell what the page did."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from joyvasa.config import plain
from joyvasa.models import AnimationConfig

FLAGS = ("models", "mode", "seed", "device", "precision")


def animate_command(portrait: str, sound: str, config: AnimationConfig) -> str:
    """`joyvasa animate` with all options that are not the defaults.

    Args:
        portrait: name of the file.
        sound: name of the file.
        config: every option.
    """
    words = ["joyvasa", "animate", _file(portrait), _file(sound), "-o", "out.mp4"]
    changed = dict(_changes(plain(AnimationConfig()), plain(config)))
    for name in FLAGS:
        if name in changed:
            words += [f"--{name}", str(changed.pop(name))]
    for name, value in changed.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _file(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _changes(default: Mapping[str, Any], chosen: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in chosen.items():
        if isinstance(value, Mapping) and isinstance(default[name], Mapping):
            yield from _changes(default[name], value, f"{prefix}{name}.")
        elif value != default[name]:
            yield f"{prefix}{name}", value
