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
    changed = changed_options(AnimationConfig(), config)
    for name in FLAGS:
        if name in changed:
            words += [f"--{name}", str(changed.pop(name))]
    for name, value in changed.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def changed_options(default: AnimationConfig, config: AnimationConfig) -> dict[str, Any]:
    """Return the options that differ from the defaults, by their names with dots.

    Args:
        default: options to compare with.
        config: options of the animation.
    """
    return dict(_iterate_changes(config_to_dict(default), config_to_dict(config)))


def _quote_dash(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _iterate_changes(
    default: Mapping[str, Any], config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and isinstance(default[name], Mapping):
            yield from _iterate_changes(default[name], value, f"{prefix}{name}.")
        elif value != default[name]:
            yield f"{prefix}{name}", value
