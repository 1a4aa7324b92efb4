"""Statistics of a run for progress, reports and tuning, and its remaining time estimated from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from manifests.run.outcome import Status
from pipelines.engine.graph import StageSpec
from pipelines.engine.tasks import Rejection
from stages.base import Fact, WorkUnit

Parsed = TypeVar("Parsed")

MAX_AMOUNT = 2.0**63  # no cluster has moved so many bytes; sums of such amounts are finite

# Facts that are additive over records, unlike e.g. the width of a picture.
ADDITIVE_FACTS = frozenset({"frames", "seconds", "windows", "bytes", "video_bytes"})

# The sum in the statistics of a stage that counts its units of work.
UNIT_COUNTS: Mapping[WorkUnit, str] = {
    "record": "records",
    "portrait": "records",
    "second": "seconds",
    "distinct_second": "seconds",
    "frame": "frames",
}


@dataclass
class StageStatistics:
    """Statistics of one stage; seconds are summed over its workers."""

    # batch_size, num_gpus: configured batch size, and GPUs of one worker
    batch_size: int = 1
    num_gpus: float = 0.0
    # unit, uses_gpu: declarations of the stage, for estimates
    unit: WorkUnit = "record"
    uses_gpu: bool = False
    output: str = ""  # output of the stage; alternative stages have the same one
    workers: int = 0  # number of ready workers
    records: int = 0  # number of results; a result that several records share counts once
    batches: int = 0  # number of finished batches
    filled: int = 0  # number of records in these batches
    shared: int = 0  # number of records that reused a result computed for another record
    # failed, quarantined: number of records that ended at this stage
    failed: int = 0
    quarantined: int = 0
    busy_s: float = 0.0  # seconds inside `run`, of finished batches
    running_s: float = 0.0  # elapsed seconds of the batches that are running now
    demand_s: float = 0.0  # seconds during which a ready worker had a batch to run, whether running or waiting
    wait_s: float = 0.0  # seconds that records waited for a worker or for their batch to fill
    lost_s: float = 0.0  # seconds without a result: batches that raised, or were lost with their worker
    moved_bytes: int = 0  # size of the inputs that workers got from other nodes, as far as stages report `bytes`
    retries: int = 0  # number of records that were run again
    worker_crashes: int = 0  # number of lost workers
    # queue_depth, queue_depth_max: number of waiting records, now and at most
    queue_depth: int = 0
    queue_depth_max: int = 0
    running: int = 0  # number of batches that were submitted and are not finished
    totals: dict[str, float] = field(default_factory=dict)  # sums of the facts named in `ADDITIVE_FACTS`
    # partial_records, partial_units, partial_s: finished share of the running batches as their workers report it:
    # records (fractions of a batch), work in `unit`, and elapsed seconds
    partial_records: float = 0.0
    partial_units: float = 0.0
    partial_s: float = 0.0

    @classmethod
    def for_stage(cls, spec: StageSpec) -> StageStatistics:
        """Return empty statistics of a stage."""
        declared = spec.stage
        uses_gpu = declared.resources.gpu > 0
        return cls(spec.batch_size, spec.num_gpus, declared.unit, uses_gpu, spec.output)

    def add_batch(self, n_records: int, seconds: float) -> None:
        """Count a finished batch."""
        self.batches += 1
        self.filled += n_records
        self.busy_s += seconds

    @property
    def units(self) -> float:
        """Finished work in `unit`, running batches included."""
        finished = self.records if UNIT_COUNTS[self.unit] == "records" else self.totals.get(UNIT_COUNTS[self.unit], 0.0)
        return finished + self.partial_units

    @property
    def batch_fill(self) -> float:
        """Mean fill of the batches, 0 to 1."""
        return self.filled / (self.batches * self.batch_size) if self.batches else 0.0

    @property
    def busy_fraction(self) -> float:
        """Fraction of the time with work to do that workers spent inside `run`, 0 to 1."""
        return min(1.0, (self.busy_s + self.running_s) / self.demand_s) if self.demand_s > 0 else 0.0

    def add_facts(self, facts: Mapping[str, Fact]) -> None:
        """Add the additive facts of one result."""
        for name in ADDITIVE_FACTS & facts.keys():
            if isinstance(value := facts[name], int | float):
                self.totals[name] = self.totals.get(name, 0) + value

    def advance(self, dt: float, *, workers: int, running: int, running_s: float, queue_depth: int) -> None:
        """Account for the time since the last call, then store the current state.

        Args:
            dt: seconds since the last call.
            workers: number of ready workers.
            running: number of batches that were submitted and are not finished.
            running_s: elapsed seconds of the batches that are running now.
            queue_depth: number of waiting records.
        """
        waiting_batches = -(-self.queue_depth // self.batch_size)
        self.demand_s += dt * min(self.workers, self.running + waiting_batches)
        self.workers, self.running, self.running_s = workers, running, running_s
        self.queue_depth, self.queue_depth_max = queue_depth, max(self.queue_depth_max, queue_depth)


@dataclass
class RunStatistics:
    """Statistics of a whole run."""

    stages: dict[str, StageStatistics]  # statistics by name of the stage, in order
    elapsed_s: float = 0.0  # seconds since the start of the run
    # seconds from the start of the run to the first batch, when a worker was ready; None before it
    first_batch_s: float | None = None
    admitted: int = 0  # number of records admitted from the manifest
    in_flight: int = 0  # number of records between the first and the last stage
    bytes_in_flight: int = 0  # size of the payloads that they hold, as far as stages report `bytes`
    # ok, failed, quarantined: number of finished records by status
    ok: int = 0
    failed: int = 0
    quarantined: int = 0

    @property
    def finished(self) -> int:
        """Number of finished records."""
        return self.ok + self.failed + self.quarantined

    def add_finished(self, rejection: Rejection | None) -> None:
        """Count a record that has left the pipeline."""
        if rejection is None:
            self.ok += 1
        elif rejection.status is Status.FAILED:
            self.failed += 1
            self.stages[rejection.stage].failed += 1
        else:
            self.quarantined += 1
            self.stages[rejection.stage].quarantined += 1

    def as_dict(self) -> dict[str, Any]:
        """Return a copy as plain values for JSON."""
        data = dataclasses.asdict(self)
        for name, stage in self.stages.items():
            data["stages"][name] |= {"batch_fill": stage.batch_fill, "busy_fraction": stage.busy_fraction}
        return data


_ADAPTER = TypeAdapter(RunStatistics)


def parse_statistics(event: Mapping[str, Any]) -> RunStatistics | None:
    """Return the statistics in an event; None if it has none, or if a damaged line has other values.

    Args:
        event: event as plain values; one of an older version may lack some figures.
    """
    return _parse(_ADAPTER, event)


@dataclass(frozen=True)
class Estimate:
    """The progress of a run in a few numbers."""

    left_s: float | None = None  # estimated seconds until the end; None before the first result
    at_least: bool = True  # whether some stages have no result yet, so that `left_s` is a lower limit
    slowest: str | None = None  # name of the stage that takes most time per record; None before the first result
    unit: WorkUnit = "record"  # unit of its work
    units: float = 0.0  # amount of its work that is finished, running batches included
    units_per_s: float | None = None  # its rate with the workers that it has now; None before the first result


_ESTIMATE = TypeAdapter(Estimate)


def parse_estimate(event: Mapping[str, Any]) -> Estimate | None:
    """Return the estimate in a progress event from a log; None if it has none, or one of a damaged line."""
    return _parse(_ESTIMATE, event.get("estimate"))


def _parse(adapter: TypeAdapter[Parsed], values: object) -> Parsed | None:
    """Convert plain values; return None if they have other types, or a number is NaN, negative or too large."""
    try:
        parsed = adapter.validate_python(values)
    except ValidationError:
        return None
    return parsed if _are_amounts(adapter.dump_python(parsed)) else None


def _are_amounts(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_are_amounts, value.values()))
    return not isinstance(value, int | float) or 0 <= value < MAX_AMOUNT


def estimate_run(statistics: RunStatistics, records: int) -> Estimate:
    """Estimate how long a run still takes.

    The remaining work of a stage is its computing time per record, multiplied by the number of records that it has not
    processed. The sum over the stages is divided by the computing time per second of the run so far, which accounts for
    parallel workers. The time before the first batch, when workers start, does not count.
    """
    stages = {name: stage for name, stage in statistics.stages.items() if _passed(stage)}
    if not stages or statistics.first_batch_s is None:
        return Estimate()

    def cost(name: str) -> float:
        return _busy_s(stages[name]) / _passed(stages[name]) / max(1, stages[name].workers)

    outputs: dict[str, list[StageStatistics]] = {}  # each record passes one of the stages of an output
    for name, numbers in statistics.stages.items():
        outputs.setdefault(numbers.output or name, []).append(numbers)
    lost = statistics.failed + statistics.quarantined
    done_s = remaining_s = 0.0
    for alternatives in outputs.values():
        busy_s, passed = sum(map(_busy_s, alternatives)), sum(map(_passed, alternatives))
        done_s += busy_s
        if passed:
            remaining_s += busy_s / passed * max(0.0, records - lost - passed)

    slowest = max(stages, key=cost)
    stage = stages[slowest]
    busy_s = _busy_s(stage)
    return Estimate(
        left_s=remaining_s * (statistics.elapsed_s - statistics.first_batch_s) / done_s if done_s > 0 else None,
        at_least=not all(any(map(_passed, alternatives)) for alternatives in outputs.values()),
        slowest=slowest,
        unit=stage.unit,
        units=stage.units,
        units_per_s=stage.units * max(1, stage.workers) / busy_s if busy_s > 0 else None,
    )


def _busy_s(stage: StageStatistics) -> float:
    return stage.busy_s + stage.partial_s


def _passed(stage: StageStatistics) -> float:
    """Return the number of records that passed a stage; fractions for running batches."""
    return stage.records + stage.shared + stage.partial_records
