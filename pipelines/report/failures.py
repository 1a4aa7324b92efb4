"""Failures and warnings grouped by reason, with advice and commands, whose paths do not name home folders."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from manifests.run.outcome import STATUSES

MAX_CODES = 40  # maximum number of groups
EXAMPLES = 5  # number of examples per group
OTHER = "other"  # code of the group of all remaining failures


@dataclass(frozen=True)
class FailureGroup:
    """Records that failed, or have a warning, for one reason."""

    code: str  # stable name of the reason
    status: str  # status of the records; empty for warnings and `OTHER`
    stage: str  # stage where they ended; empty for warnings and `OTHER`
    count: int  # number of records
    examples: list[dict[str, Any]]  # some of them: `record_id`, `row`, `row_index`, `text`


@dataclass(frozen=True)
class FailureFigure:
    """A group of failures with advice."""

    group: FailureGroup  # group of failures
    advice: str  # advice for the user
    command: str  # command that runs the records again after the cause is fixed


def group_failures(
    codes: pa.Table, text: str, read_rows: Callable[[Sequence[int]], Sequence[Mapping[str, Any]]]
) -> list[FailureGroup]:
    """Group records by status, stage and code, the largest group first.

    Args:
        codes: records with the columns `status`, `stage`, `code` and `row_index` (index of the row in the run).
        text: outcome column with the error or warning sentence.
        read_rows: function that returns the outcome rows at ascending indices.
    """
    grouped = codes.group_by(["status", "stage", "code"]).aggregate([("row_index", "distinct")])
    row_indices = [np.sort(group.values.to_numpy()) for group in grouped.column("row_index_distinct")]
    keys = grouped.select(["status", "stage", "code"]).to_pylist()
    groups = sorted(zip(keys, row_indices, strict=True), key=lambda group: (-len(group[1]), group[1][0]))
    if len(groups) > MAX_CODES:
        rest = np.concatenate([row_indices for _, row_indices in groups[MAX_CODES:]])
        groups = [*groups[:MAX_CODES], ({"status": "", "stage": "", "code": OTHER}, np.unique(rest))]

    shown = sorted({int(row_index) for _, row_indices in groups for row_index in row_indices[:EXAMPLES]})
    rows = dict(zip(shown, read_rows(shown) if shown else (), strict=True))
    return [
        FailureGroup(
            key["code"] or "unknown",
            key["status"] or "",
            key["stage"] or "",
            len(row_indices),
            [
                {"record_id": row["record_id"], "row": row.get("row"), "row_index": at, "text": row.get(text) or ""}
                for at, row in ((int(at), rows[int(at)]) for at in row_indices[:EXAMPLES])
            ],
        )
        for key, row_indices in groups
    ]


def explain_failures(groups: Iterable[FailureGroup], run: str) -> list[FailureFigure]:
    """Add advice to groups of failures, and commands for the run folder."""

    def build_command(group: FailureGroup) -> str:
        statuses = [group.status] if group.status else [name for name in STATUSES if name != "ok"]
        return " ".join([f"joyvasa resume {quote_path(run)}", *(f"--retry {status}" for status in statuses)])

    text = resources.files("pipelines.report").joinpath("advice.yaml").read_text(encoding="utf-8")
    advice: Mapping[str, Mapping[str, str]] = yaml.safe_load(text)
    return [FailureFigure(group, _find_advice(advice, group), build_command(group)) for group in groups]


def _find_advice(advice: Mapping[str, Mapping[str, str]], group: FailureGroup) -> str:
    if group.code in advice["codes"]:
        return advice["codes"][group.code]
    for prefix, text in advice["prefixes"].items():
        if group.code.startswith(prefix):
            return text
    return advice["statuses"].get(group.status, advice["statuses"]["failed"])


def shorten_home(text: str) -> str:
    """Replace the home folder by `~` in a sentence, but not in the middle of a path."""
    home = str(Path.home())
    start = rf"(?:(?<=file://)|(?<![\w./~-])){re.escape(home + os.sep)}"
    return re.sub(start, f"~{os.sep}", text) if len(home) > 1 else text


def quote_path(path: str) -> str:
    """Return a path for a shell command, with the home folder as `~`."""
    home = str(Path.home())
    if len(home) > 1 and path.startswith(home + os.sep):
        return f"~/{shlex.quote(path.removeprefix(home + os.sep))}"
    return shlex.quote(path)
