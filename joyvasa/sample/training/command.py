"""Start of the commands that make and measure the built-in model."""

from __future__ import annotations

import sys
from collections.abc import Callable

from joyvasa.errors import JoyvasaError


def run_command(command: Callable[[], object]) -> None:
    """Run a command line; an error that the user can fix is printed as one sentence, with exit code 1."""
    try:
        command()
    except JoyvasaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
