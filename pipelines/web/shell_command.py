"""The shell command that makes the same video as the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from joyvasa.config import config_to_dict, iterate_options
from joyvasa.options import AnimationConfig

FLAGS = ("models", "mode", "seed", "device", "precision")


def build_animate_command(names: Mapping[str, str], config: AnimationConfig) -> str:
    """Build a `joyvasa animate` command with all options that differ from the defaults.

    Args:
        names: names of the files by input: `portrait`, and `sound` or `motion` or both.
        config: options of the animation.
    """
    words = ["joyvasa", "animate", *(_quote_dash(names[name]) for name in ("portrait", "sound") if name in names)]
    words += ["--motion", _quote_dash(names["motion"])] if "motion" in names else []
    words += ["-o", "out.mp4"]
    changed = changed_options(AnimationConfig(), config)
    for name in FLAGS:
        if name in changed:
            words += [f"--{name}", str(changed.pop(name))]
    for name, value in changed.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def changed_options(default: AnimationConfig, config: AnimationConfig) -> dict[str, Any]:
    """Return the options that differ from the defaults, by their names with dots."""
    defaults = flatten_options(default)
    return {name: value for name, value in flatten_options(config).items() if value != defaults[name]}


def flatten_options(config: AnimationConfig) -> dict[str, Any]:
    """Return all options by their names with dots."""
    return dict(iterate_options(config_to_dict(config)))


def _quote_dash(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name
