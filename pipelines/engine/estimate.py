"""Estimate of the remaining time of a run from its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.engine.statistics import RunStatistics, StageStatistics
from stages.base import WorkUnit


@dataclass(frozen=True)
class Estimate:
    """The progress of a run in a few numbers."""

    left_s: float | None = None  # estimated seconds until the end; None before the first result
    at_least: bool = True  # whether some stages have no result yet, so that `left_s` is a lower limit
    slowest: str | None = None  # name of the stage that takes most time per record; None before the first result
    unit: WorkUnit = "record"  # unit of its work
    units: float = 0.0  # amount of its work that is finished, running batches included
    units_per_s: float | None = None  # its rate with the workers that it has now; None before the first result

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


_ADAPTER = TypeAdapter(Estimate)


def parse_estimate(event: Mapping[str, Any]) -> Estimate | None:
    """Return the estimate in a progress event from a log; None if it has none, or one of a damaged line."""
    try:
        return _ADAPTER.validate_python(event.get("estimate"))
    except ValidationError:
        return None


def estimate_run(statistics: RunStatistics, records: int) -> Estimate:
    """Estimate how long a run still takes.

    The remaining work of a stage is its computing time per record, multiplied by the number of records that it has not
    processed. The sum over the stages is divided by the computing time per second of the run so far, which accounts for
    parallel workers. The time before the first batch, when workers start, does not count.

    Args:
        statistics: statistics of this part of the run.
        records: number of records of this part.
    """
    stages = {name: stage for name, stage in statistics.stages.items() if _passed(stage)}
    if not stages or statistics.first_batch_s is None:
        return Estimate()

    def cost(name: str) -> float:
        return _busy_s(stages[name]) / _passed(stages[name]) / max(1, stages[name].workers)

    slowest = max(stages, key=cost)
    stage = stages[slowest]
    busy_s = _busy_s(stage)
    outputs: dict[str, list[StageStatistics]] = {}
    for name, numbers in statistics.stages.items():
        outputs.setdefault(numbers.output or name, []).append(numbers)
    return Estimate(
        left_s=_estimate_left(statistics, [*outputs.values()], records),
        at_least=not all(any(map(_passed, alternatives)) for alternatives in outputs.values()),
        slowest=slowest,
        unit=stage.unit,
        units=stage.units,
        units_per_s=stage.units * max(1, stage.workers) / busy_s if busy_s > 0 else None,
    )


def _estimate_left(
    statistics: RunStatistics, outputs: Sequence[Sequence[StageStatistics]], records: int
) -> float | None:
    """Return the remaining seconds.

    Args:
        statistics: statistics of the run.
        outputs: stages by output; each record passes one of the alternative stages of an output.
        records: number of records of this part of the run.
    """
    lost = statistics.failed + statistics.quarantined
    done_s = remaining_s = 0.0
    for alternatives in outputs:
        busy_s, passed = sum(map(_busy_s, alternatives)), sum(map(_passed, alternatives))
        done_s += busy_s
        if passed:
            remaining_s += busy_s / passed * max(0.0, records - lost - passed)
    elapsed_s = statistics.elapsed_s - (statistics.first_batch_s or 0.0)
    return remaining_s * elapsed_s / done_s if done_s > 0 else None


def _busy_s(stage: StageStatistics) -> float:
    return stage.busy_s + stage.partial_s


def _passed(stage: StageStatistics) -> float:
    """Return the number of records that passed a stage; fractions for running batches."""
    return stage.records + stage.shared + stage.partial_records
