"""The engine with many simulated GPUs: how much of their capacity one driver uses.

Workers exist only as events on a virtual clock, which also advances by the processor time of the driver. Figures
therefore do not depend on the load of the machine, and a driver that is too slow shows as idle workers.
"""

from __future__ import annotations

import heapq
import math
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from manifests.record import Record
from pipelines.bench.config import BenchConfig
from pipelines.bench.engine import EmptyStage
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.base import (
    BatchDone,
    BatchEntry,
    Executor,
    LossCause,
    ProgressCallback,
    WorkerLost,
    WorkerReady,
    WorkerReport,
)
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from stages.base import Ok

# Stage: seconds per record of one worker, batch size, GPUs per worker. A GPU renders one record per second.
TIMES: dict[str, tuple[float, int, int]] = {
    "hash_inputs": (0.02, 32, 16),
    "portrait": (0.05, 8, 1),
    "speech": (0.08, 8, 1),
    "motion": (0.1, 16, 1),
    "render": (1.0, 4, 1),
    "score": (0.2, 8, 1),
    "verify_output": (0.002, 32, 16),
}
SPREAD = 0.3  # standard deviation of the logarithm of batch times
START_S = (10.0, 30.0)  # range of the time that a worker takes to load its models
RESTART_S = 15.0  # time that a replacement takes
WARM_UP_S = 60.0  # virtual time before the measurement
MEASURED_S = 60.0  # virtual time of the measurement
GPUS_PER_NODE = 8
DEATH_EVERY_S = 1.0  # between two dead workers
NODE_LOSS_EVERY_S = 60.0  # between two lost nodes


@dataclass(frozen=True)
class SimulationFigure:
    """Figures of a simulated run."""

    gpus: int  # number of simulated GPUs, each able to render one record per second
    deaths: bool  # whether a worker dies every second and a node every minute
    records_per_s: float  # finished records per second
    used: float  # finished records divided by those that the ready render workers could have rendered
    driver_share: float  # processor time of the driver divided by elapsed time, in cores
    memory_mib: float  # peak memory of the process, MiB
    longest_idle_s: float  # longest time that a ready render worker stood idle, seconds


class VirtualClock:
    """A clock that advances by the processor time of this thread and by jumps."""

    def __init__(self) -> None:
        self._now, self._measured = 0.0, time.thread_time()
        self.driver_s = 0.0  # processor time since the creation, seconds

    def __call__(self) -> float:
        """Return the time of the last update, seconds."""
        return self._now

    def update(self) -> None:
        """Add the processor time since the last update; reading it costs as much as a dispatch."""
        measured = time.thread_time()
        self.driver_s += measured - self._measured
        self._now += measured - self._measured
        self._measured = measured

    def advance_to(self, when: float) -> None:
        """Jump to a later time."""
        self._now = max(self._now, when)


@dataclass
class _Worker:
    stage: str
    ready: bool = False
    pending: list[tuple[int, int]] = field(default_factory=list)  # ticket and number of records, in order
    idle_since: float = 0.0


class SimulatedExecutor(Executor):
    """An executor whose workers take a random time per batch on a virtual clock and fail on schedule.

    Args:
        clock: clock of the run.
        deaths: whether workers and nodes die.
    """

    parallel = True

    def __init__(self, clock: VirtualClock, *, deaths: bool) -> None:
        self._clock, self._draw = clock, random.Random(0)
        self._workers: dict[int, _Worker] = {}
        # Heap of time, worker and kind.
        self._events = [(WARM_UP_S / 2, -1, "death"), (WARM_UP_S, -1, "node")] if deaths else []
        self.rendered_capacity = self.longest_idle_s = 0.0
        self._ready_renderers, self._counted_until = 0, WARM_UP_S

    def open(self) -> None:
        """Do nothing."""

    def describe_resources(self) -> str:
        """Describe the simulation."""
        return "all workers are simulated"

    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Schedule the moment at which a worker is ready."""
        self._workers[worker] = _Worker(spec.name)
        delay = self._draw.uniform(*START_S) if self._clock() < START_S[0] else RESTART_S
        heapq.heappush(self._events, (self._clock() + delay, worker, "ready"))

    def submit(self, worker: int, ticket: int, entries: Sequence[BatchEntry]) -> None:
        """Queue a batch at a worker."""
        state = self._workers[worker]
        state.pending.append((ticket, len(entries)))
        if len(state.pending) == 1:
            self._note_idle(state)
            self._start_batch(worker, state)

    def wait(self, timeout_s: float, on_progress: ProgressCallback) -> list[WorkerReport]:
        """Advance the clock to the next event and report all events that are due."""
        self._clock.update()
        limit = self._clock() + timeout_s
        self._clock.advance_to(min(limit, self._events[0][0]) if self._events else limit)
        reports: list[WorkerReport] = []
        while self._events and self._events[0][0] <= self._clock():
            _, worker, kind = heapq.heappop(self._events)
            if kind in ("death", "node"):
                reports += self._kill_some(kind)
            elif worker in self._workers:
                reports.append(self._handle(worker, self._workers[worker], kind))
        return reports

    def kill_worker(self, worker: int) -> None:
        """Remove a worker."""
        state = self._workers.pop(worker)
        if state.ready and state.stage == "render":
            self._count_capacity(-1)

    def close(self) -> None:
        """Do nothing."""

    def finish_counting(self) -> None:
        """Add the capacity up to now."""
        self._count_capacity(0)

    def _handle(self, worker: int, state: _Worker, kind: str) -> WorkerReport:
        if kind == "ready":
            state.ready, state.idle_since = True, self._clock()
            if state.stage == "render":
                self._count_capacity(1)
            return WorkerReady(worker)
        ticket, n_records = state.pending.pop(0)
        if state.pending:
            self._start_batch(worker, state)
        else:
            state.idle_since = self._clock()
        outcomes = [Ok() for _ in range(n_records)]
        return BatchDone(ticket, outcomes, [None] * n_records, 0.0)

    def _start_batch(self, worker: int, state: _Worker) -> None:
        seconds = TIMES[state.stage][0] * state.pending[0][1]
        seconds *= self._draw.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)  # the mean is 1
        heapq.heappush(self._events, (self._clock() + seconds, worker, "done"))

    def _kill_some(self, kind: str) -> list[WorkerReport]:
        """Kill a random worker, or the workers of a node; schedule the next death."""
        ready = [number for number, state in self._workers.items() if state.ready]
        count = 1 if kind == "death" else GPUS_PER_NODE * sum(gpus == 1 for _, _, gpus in TIMES.values())
        every = DEATH_EVERY_S if kind == "death" else NODE_LOSS_EVERY_S
        heapq.heappush(self._events, (self._clock() + every, -1, kind))
        reports: list[WorkerReport] = []
        for number in self._draw.sample(ready, min(count, len(ready))):
            self.kill_worker(number)
            cause = LossCause.DIED if kind == "death" else LossCause.NODE
            reports.append(WorkerLost(number, cause, "simulated"))
        return reports

    def _count_capacity(self, change: int) -> None:
        """Add the worker seconds of ready render workers since the last change, within the measurement."""
        now = min(max(self._clock(), WARM_UP_S), WARM_UP_S + MEASURED_S)
        self.rendered_capacity += self._ready_renderers * (now - self._counted_until)
        self._counted_until = now
        self._ready_renderers += change

    def _note_idle(self, state: _Worker) -> None:
        now = self._clock()
        if state.stage == "render" and WARM_UP_S < now < WARM_UP_S + MEASURED_S:
            self.longest_idle_s = max(self.longest_idle_s, now - max(state.idle_since, WARM_UP_S))


def simulated_pipeline(gpus: int) -> Pipeline:
    """Return the stages of the video pipeline with enough workers for a number of GPUs."""
    links: dict[str, tuple[str, ...]] = {
        "motion": ("speech",),
        "render": ("portrait", "motion"),
        "score": ("render",),
        "verify_output": ("score",),
    }
    specs = [
        StageSpec(
            name=name,
            stage=EmptyStage(),
            batch_size=batch_size,
            workers=max(1, math.ceil(gpus / gpus_per_worker)),
            inputs=links.get(name, ()),
            after=() if name == "hash_inputs" or name in links else ("hash_inputs",),
        )
        for name, (_, batch_size, gpus_per_worker) in TIMES.items()
    ]
    return Pipeline(tuple(specs))


def measure_simulation(config: BenchConfig) -> tuple[SimulationFigure, ...]:
    """Simulate the configured numbers of GPUs, without and with deaths."""
    return tuple(simulate(gpus, deaths=deaths) for gpus in config.simulated_gpus for deaths in (False, True))


def simulate(gpus: int, *, deaths: bool) -> SimulationFigure:
    """Run the engine with simulated workers; with deaths, one dies every second and a node every minute."""
    clock = VirtualClock()
    executor = SimulatedExecutor(clock, deaths=deaths)
    finished = 0
    driver_s: list[float] = []  # processor time at the first and the last finished record

    def records() -> Iterator[Record]:
        number = 0
        while clock() < WARM_UP_S + MEASURED_S:
            yield Record(id=f"record-{number:09d}", seed=number)
            number += 1

    def count(_record: object) -> None:
        nonlocal finished
        if WARM_UP_S <= clock() < WARM_UP_S + MEASURED_S:
            finished += 1
            driver_s.append(clock.driver_s)
            del driver_s[1:-1]  # the first and the last

    config = EngineConfig(verdict_s=1.0)
    run_pipeline(simulated_pipeline(gpus), records(), count, executor=executor, config=config, clock=clock)
    executor.finish_counting()

    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return SimulationFigure(
        gpus=gpus,
        deaths=deaths,
        records_per_s=finished / MEASURED_S,
        used=finished * TIMES["render"][0] / executor.rendered_capacity,
        driver_share=(driver_s[-1] - driver_s[0]) / MEASURED_S,
        memory_mib=memory,
        longest_idle_s=executor.longest_idle_s,
    )
