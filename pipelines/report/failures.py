"""Records without a video, by reason, with what to do about each."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

MAX_CODES = 40  # groups of failures or warnings that are told apart
EXAMPLES = 5  # of each group
OTHER = "other"  # code of the group of all that are not told apart


@dataclass(frozen=True)
class FailureGroup:
    """Records that failed, or have a warning, for one reason.

    Args:
        code: stable name of the reason.
        status: status of the records; empty for warnings.
        stage: stage where they ended; empty for warnings.
        count: number of records.
        examples: some of them: `record_id`, `row`, `text`.
    """

    code: str
    status: str
    stage: str
    count: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class FailureFigure:
    """Records that ended for one reason.

    Args:
        group: what they have in common, how many they are, and examples.
        advice: what to do.
        command: that runs them again, when what was wrong is repaired.
    """

    group: FailureGroup
    advice: str
    command: str


def failure_groups(
    codes: pa.Table, text: str, read_rows: Callable[[Sequence[int]], Sequence[Mapping[str, Any]]]
) -> list[FailureGroup]:
    """Group records by status, stage and code, the largest group first.

    Args:
        codes: the records, columns `status`, `stage`, `code` and `place` (of the row in the run).
        text: outcome column with the sentence for people.
        read_rows: returns the outcome rows of ascending places.
    """
    found = codes.group_by(["status", "stage", "code"]).aggregate([("place", "distinct")])
    places = [np.sort(group.values.to_numpy()) for group in found.column("place_distinct")]
    keys = found.select(["status", "stage", "code"]).to_pylist()
    groups = sorted(zip(keys, places, strict=True), key=lambda group: (-len(group[1]), group[1][0]))
    if len(groups) > MAX_CODES:
        rest = np.concatenate([places for _, places in groups[MAX_CODES:]])
        groups = [*groups[:MAX_CODES], ({"status": "", "stage": "", "code": OTHER}, np.unique(rest))]
    shown = sorted({int(place) for _, places in groups for place in places[:EXAMPLES]})
    rows = dict(zip(shown, read_rows(shown) if shown else (), strict=True))
    return [
        FailureGroup(
            key["code"] or "unknown",
            key["status"] or "",
            key["stage"] or "",
            len(places),
            [
                {"record_id": row["record_id"], "row": row.get("row"), "text": row.get(text) or ""}
                for row in (rows[int(place)] for place in places[:EXAMPLES])
            ],
        )
        for key, places in groups
    ]


def failure_figures(groups: Iterable[FailureGroup], run: str) -> list[FailureFigure]:
    """Add advice to groups of failures.

    Args:
        groups: groups of failures.
        run: the run folder, for commands.
    """
    text = resources.files("pipelines.report").joinpath("advice.yaml").read_text(encoding="utf-8")
    known: Mapping[str, Mapping[str, str]] = yaml.safe_load(text)
    return [
        FailureFigure(group, _advice(known, group), f"joyvasa resume {shlex.quote(run)} --retry {group.status}")
        for group in groups
    ]


def _advice(known: Mapping[str, Mapping[str, Any]], group: FailureGroup) -> str:
    if group.code in known["codes"]:
        return known["codes"][group.code]
    for prefix, advice in known["prefixes"].items():
        if group.code.startswith(prefix):
            return advice
    return known["statuses"].get(group.status, known["statuses"]["failed"])
