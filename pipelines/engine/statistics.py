"""What a run did so far, for progress, reports and tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.graph import StageSpec
from stages.base import Fact, WorkUnit

# Facts whose sum over records says something. That of the widths of pictures, or of the faces in them, does not.
AMOUNTS = frozenset({"frames", "seconds", "windows", "bytes", "video_bytes"})


@dataclass
class StageStatistics:
    """Of one stage. Seconds are summed over its workers.

    Attributes:
        batch_size, num_gpus: as configured; GPUs of one worker.
        unit, uses_gpu: as the stage declares them, for estimates.
        workers: that are ready.
        records: results, each counted once however many records share it.
        batches: that came back.
        filled: records in these batches.
        shared: records that were served with a result computed for another one.
        failed, quarantined: records that ended here.
        busy_s: seconds inside `run`, of batches that came back.
        running_s: seconds that the batches now running have taken so far.
        demand_s: seconds for which there was a batch for a ready worker to run, running or waiting.
        wait_s: seconds that records waited for a worker or for their batch to fill.
        lost_s: seconds without a result: batches that raised, or were lost with their worker.
        retries: records sent again.
        worker_crashes: lost workers.
        queue_depth, queue_depth_max: records that wait.
        running: batches sent and not back.
        totals: sums of the facts named in `AMOUNTS`.
    """

    batch_size: int = 1
    num_gpus: float = 0.0
    unit: WorkUnit = "record"
    uses_gpu: bool = False
    workers: int = 0
    records: int = 0
    batches: int = 0
    filled: int = 0
    shared: int = 0
    failed: int = 0
    quarantined: int = 0
    busy_s: float = 0.0
    running_s: float = 0.0
    demand_s: float = 0.0
    wait_s: float = 0.0
    lost_s: float = 0.0
    retries: int = 0
    worker_crashes: int = 0
    queue_depth: int = 0
    queue_depth_max: int = 0
    running: int = 0
    totals: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: StageSpec) -> StageStatistics:
        """Return empty statistics of a stage."""
        declared = spec.stage
        uses_gpu = declared.resources.gpu > 0
        return cls(batch_size=spec.batch_size, num_gpus=spec.num_gpus, unit=declared.unit, uses_gpu=uses_gpu)

    @property
    def batch_fill(self) -> float:
        """How full batches were, 0 to 1."""
        return self.filled / (self.batches * self.batch_size) if self.batches else 0.0

    @property
    def busy_fraction(self) -> float:
        """How much of the time workers were inside `run` while there was something to run, 0 to 1."""
        return min(1.0, (self.busy_s + self.running_s) / self.demand_s) if self.demand_s > 0 else 0.0

    def add_facts(self, facts: Mapping[str, Fact]) -> None:
        """Adds the amounts of one result."""
        for name in AMOUNTS & facts.keys():
            if isinstance(value := facts[name], int | float):
                self.totals[name] = self.totals.get(name, 0) + value

    def advance(self, dt: float, *, workers: int, running: int, running_s: float, queue_depth: int) -> None:
        """Counts the time since the last call and notes the present state.

        Args:
            dt: seconds since the last call, in which the state noted then held.
            workers: that are ready.
            running: batches sent and not back.
            running_s: seconds that the batches now running have taken so far.
            queue_depth: records that wait.
        """
        waiting_batches = -(-self.queue_depth // self.batch_size)
        self.demand_s += dt * min(self.workers, self.running + waiting_batches)
        self.workers, self.running, self.running_s = workers, running, running_s
        self.queue_depth, self.queue_depth_max = queue_depth, max(self.queue_depth_max, queue_depth)


@dataclass
class RunStatistics:
    """Of a whole run.

    Attributes:
        elapsed_s: since the run began.
        admitted: records taken from the manifest.
        in_flight: records between the first and the last stage.
        bytes_in_flight: size of the payloads that they hold, as far as stages report `bytes`.
        ok, failed, quarantined: records finished.
        stages: by name, in order.
    """

    stages: dict[str, StageStatistics]
    elapsed_s: float = 0.0
    admitted: int = 0
    in_flight: int = 0
    bytes_in_flight: int = 0
    ok: int = 0
    failed: int = 0
    quarantined: int = 0

    @property
    def finished(self) -> int:
        """Records that have left."""
        return self.ok + self.failed + self.quarantined

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; independent of what happens later."""
        data = dataclasses.asdict(self)
        for name, stage in self.stages.items():
            data["stages"][name] |= {"batch_fill": stage.batch_fill, "busy_fraction": stage.busy_fraction}
        return data
