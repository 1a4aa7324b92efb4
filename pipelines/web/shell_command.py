"""The shell command that makes the same video as the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from joyvasa.config import config_to_dict
from joyvasa.models import AnimationConfig

FLAGS = ("models", "mode", "seed", "device", "precision")


def build_animate_command(portrait: str, sound: str, config: AnimationConfig) -> str:
    """Build a `joyvasa animate` command with all options that differ from the defaults.

    Args:
        portrait: name of the picture file.
        sound: name of the sound file.
        config: options of the animation.
    """
    words = ["joyvasa", "animate", _quote_dash(portrait), _quote_dash(sound), "-o", "out.mp4"]
    changed = dict(_changed_options(config_to_dict(AnimationConfig()), config_to_dict(config)))
    for name in FLAGS:
        if name in changed:
            words += [f"--{name}", str(changed.pop(name))]
    for name, value in changed.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _quote_dash(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _changed_options(
    default: Mapping[str, Any], config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and isinstance(default[name], Mapping):
            yield from _changed_options(default[name], value, f"{prefix}{name}.")
        elif value != default[name]:
            yield f"{prefix}{name}", value
