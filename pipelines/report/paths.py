"""Paths on the page, without home folders, whose names are those of people."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def shorten_home(text: str) -> str:
    """Replace the home folder in a path or sentence by `~`."""
    home = str(Path.home())
    return text.replace(home + os.sep, "~" + os.sep) if len(home) > 1 else text


def quote_path(path: str) -> str:
    """Return a path for a shell command, with the home folder as `~`."""
    short = shorten_home(path)
    return f"~/{shlex.quote(short[2:])}" if short.startswith("~/") else shlex.quote(short)
