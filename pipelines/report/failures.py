"""Records without a video, by reason, with what to do about each."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from pipelines.report.rows import Kind


@dataclass(frozen=True)
class FailureFigure:
    """Records that ended for one reason.

    Args:
        kind: what they have in common, how many they are, and examples.
        advice: what to do.
        command: that runs them again, when what was wrong is repaired.
    """

    kind: Kind
    advice: str
    command: str


def failure_figures(kinds: Iterable[Kind], run: str) -> list[FailureFigure]:
    """The reasons, most frequent first.

    Args:
        kinds: of failures.
        run: the run folder, for commands.
    """
    text = resources.files("pipelines.report").joinpath("advice.yaml").read_text(encoding="utf-8")
    known: Mapping[str, Mapping[str, str]] = yaml.safe_load(text)
    return [
        FailureFigure(kind, _advice(known, kind), f"joyvasa resume {shlex.quote(run)} --retry {kind.status}")
        for kind in sorted(kinds, key=lambda kind: -kind.count)
    ]


def _advice(known: Mapping[str, Mapping[str, Any]], kind: Kind) -> str:
    if kind.code in known["codes"]:
        return known["codes"][kind.code]
    for prefix, advice in known["prefixes"].items():
        if kind.code.startswith(prefix):
            return advice
    return known["statuses"].get(kind.status, known["statuses"]["failed"])
