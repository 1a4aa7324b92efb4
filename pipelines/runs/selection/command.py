"""The shell command of a selection."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pipelines.runs.selection.options import SelectionOptions


def build_select_command(runs: Sequence[str], options: SelectionOptions, out: str) -> str:
    """Build the `joyvasa select` command for statuses and conditions; other criteria are not included.

    Args:
        runs: run folders; paths or URIs.
        options: criteria, of which `statuses` and `where` are used.
        out: file that the command writes.
    """
    words = ["joyvasa", "select", *runs]
    if options.statuses != SelectionOptions().statuses:
        words += [word for status in options.statuses for word in ("--status", status)]
    words += [word for text in options.where for word in ("--where", text)]
    return shlex.join([*words, "-o", out])
