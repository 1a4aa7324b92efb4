"""Presets: named sets of options of a pair, as YAML files in this folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from joyvasa.errors import ConfigError, suggest_name

FOLDER = Path(__file__).parent
PRESETS = ("joyvasa-cli", "joyvasa-web")


def read_preset(name: str) -> Mapping[str, Any]:
    """Return the options of a preset, part of the tree of `AnimationConfig`.

    Raises:
        ConfigError: `preset_unknown`.
    """
    if name not in PRESETS:
        raise ConfigError("preset_unknown", f"preset {name!r} is unknown; {suggest_name(name, PRESETS)}")
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
