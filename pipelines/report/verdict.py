"""The verdict of a report: which videos are usable, by the thresholds of `verdict.yaml`, and what the others lack."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from joyvasa.metrics.base import MetricColumn
from pipelines.report.failures import FailureFigure
from pipelines.report.metrics import MetricFigures
from pipelines.report.rows import OutcomeRows

SHOWN_PROBLEMS = 3
EXAMPLES = 5  # records named per problem
OPERATORS: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Check:
    """A condition that usable videos meet."""

    metric: str  # name of the metric column
    sign: str  # `>=` or `<=`
    threshold: float  # limit of the metric
    problem: str  # what a video that fails the check looks like
    advice: str  # advice for the user
    reason: str  # origin of the threshold
    unless: str = ""  # metric that replaces the check if the run has numbers of it; empty for none

    @property
    def condition(self) -> str:
        """The condition in the grammar of `joyvasa select`."""
        return f"{self.metric} {self.sign} {self.threshold:g}"


@dataclass(frozen=True)
class Problem:
    """A reason why records are not usable."""

    text: str  # what is wrong
    advice: str  # advice for the user
    count: int  # number of records
    examples: list[tuple[int, str]]  # row index and id of some of them
    condition: str = ""  # condition that the records fail; empty if they have no video


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run."""

    records: int  # number of records in the report
    videos: int  # number of videos
    usable: int  # number of videos that pass all checks
    checks: list[Check]  # checks whose metrics have numbers
    skipped: list[MetricColumn]  # columns of the checks that could not be made
    problems: list[Problem]  # the most common problems, the largest first

    @property
    def share(self) -> float | None:
        """Share of the records that are usable."""
        return self.usable / self.records if self.records else None


@cache
def load_checks() -> tuple[Check, ...]:
    """Return the checks of `verdict.yaml`."""
    text = resources.files("pipelines.report").joinpath("verdict.yaml").read_text(encoding="utf-8")
    return tuple(map(_parse_check, yaml.safe_load(text)["checks"]))


def _parse_check(entry: dict[str, Any]) -> Check:
    sign, _, threshold = entry.pop("keep").partition(" ")
    return Check(sign=sign, threshold=float(threshold), **entry)


def judge_run(
    rows: OutcomeRows, figures: Sequence[MetricFigures], failures: Sequence[FailureFigure], checks: Sequence[Check]
) -> Verdict:
    """Judge the videos of a run."""
    measured = {metric.column.name: metric for metric in figures if metric.summary.n}
    columns = {metric.column.name: metric.column for metric in figures}
    wanted = [check for check in checks if check.unless not in measured]
    used = [check for check in wanted if check.metric in measured]

    videos = rows.find_videos()
    usable = videos.copy()
    problems = [
        Problem(
            f"no video: {failure.group.code}",
            failure.advice,
            failure.group.count,
            [(example["row_index"], example["record_id"]) for example in failure.group.examples],
        )
        for failure in failures
    ]
    for check in used:
        values, metric = rows.read_metric(check.metric), measured[check.metric]
        passes = OPERATORS[check.sign](values, check.threshold)  # NaN, no number, does not pass
        usable &= passes
        reason = next((f"{reason.code}: {reason.sentence}" for reason in metric.reasons), "")
        causes = (
            (videos & ~passes & ~np.isnan(values), check.problem, check.advice),
            (videos & np.isnan(values), f"no number of {metric.column.title}", f"most frequent reason: {reason}"),
        )
        for fails, text, advice in causes:
            if count := int(fails.sum()):
                shown = np.flatnonzero(fails)[:EXAMPLES].tolist()
                examples = [(at, row["record_id"]) for at, row in zip(shown, rows.read_rows(shown), strict=True)]
                problems.append(Problem(text, advice, count, examples, check.condition))

    skipped = [columns[check.metric] for check in wanted if check.metric not in measured and check.metric in columns]
    problems.sort(key=lambda problem: -problem.count)
    return Verdict(rows.n_rows, int(videos.sum()), int(usable.sum()), used, skipped, problems[:SHOWN_PROBLEMS])
