"""Find model bundles by name or folder."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.pretrained import is_pretrained_folder, open_pretrained_folder
from joyvasa.bundles.spec import read_spec
from joyvasa.errors import ModelError

SPEC_NAME = "bundle.yaml"
_PACKAGE = Path(__file__).parent


def get_models_folder() -> Path:
    """Return the folder of fetched files, with one folder per bundle.

    This is `$JOYVASA_MODELS` if set, else `joyvasa/models` in the user's data folder: `$XDG_DATA_HOME` or
    `~/.local/share` on Linux, `~/Library/Application Support` on macOS, `%LOCALAPPDATA%` on Windows. A user without a
    home folder, as in some containers, has it in the folder for temporary files.
    """
    if folder := os.environ.get("JOYVASA_MODELS"):
        return Path(folder).expanduser()
    try:
        home = Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir(), f"joyvasa-models-{os.getuid()}")
    if sys.platform == "darwin":
        data = home / "Library/Application Support"
    elif sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local")
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return data / "joyvasa/models"


def list_builtin_bundles() -> list[str]:
    """Return the names of the bundles that are part of the package."""
    return sorted(path.parent.name for path in _PACKAGE.glob(f"*/{SPEC_NAME}"))


def list_bundle_names() -> list[str]:
    """Return the names of all bundles: those of the package, then those in the models folder."""
    built_in = list_builtin_bundles()
    local = sorted(path.parent.name for path in get_models_folder().glob(f"*/{SPEC_NAME}"))
    return built_in + [name for name in local if name not in built_in]


def open_bundle(name_or_path: str | Path) -> Bundle:
    """Open a bundle. Its files do not have to exist yet.

    Args:
        name_or_path: a name from `list_bundle_names()`, a folder with a bundle.yaml, or a `pretrained_weights` folder
            with the layout of JoyVASA's README. A name takes precedence over a folder of that name; use `./name` for
            the folder.

    Raises:
        ModelError: the bundle does not exist or its bundle.yaml is invalid.
    """
    text = str(name_or_path)
    cache = HashCache(get_models_folder() / ".hashes.json")

    if text in list_builtin_bundles():
        spec = read_spec(_PACKAGE / text / SPEC_NAME)
        shipped = any(role.file and (_PACKAGE / text / role.file).is_file() for role in spec.roles.values())
        return Bundle(spec, _PACKAGE / text if shipped else get_models_folder() / text, cache)

    named = get_models_folder() / text
    folder = named if text in list_bundle_names() else Path(text).expanduser()
    if folder.name == SPEC_NAME:
        folder = folder.parent
    if (folder / SPEC_NAME).is_file():
        return Bundle(read_spec(folder / SPEC_NAME), folder, cache)
    if is_pretrained_folder(folder):
        return open_pretrained_folder(folder, read_spec(_PACKAGE / "joyvasa" / SPEC_NAME), cache)
    raise ModelError(
        "bundle_unknown",
        f"{text}: no such bundle; expected one of {', '.join(list_bundle_names())}, a folder with {SPEC_NAME}, or "
        "a pretrained_weights folder (with JoyVASA/ and liveportrait/ in it)",
    )
