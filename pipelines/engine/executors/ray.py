"""An executor that runs every worker as a Ray actor."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache, cached_property
from typing import Any

import ray
import ray.exceptions
from ray._private.state import available_resources_per_node  # Ray's own libraries use it, too

from manifests.record import Record
from manifests.scratch import sweep_scratch
from pipelines.engine.executors.base import (
    PROGRESS_S,
    BatchEntry,
    BatchFailed,
    BatchProgress,
    BatchResult,
    Executor,
    ExecutorConfig,
    LossCause,
    PayloadLost,
    ProgressCallback,
    WorkerLost,
    WorkerReady,
    WorkerReport,
    run_batch,
)
from pipelines.engine.executors.ray_connection import connect_to_ray
from pipelines.engine.executors.ray_metrics import RayMetrics
from pipelines.engine.graph import StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Failed, Item, Stage
from stages.failures import classify_exception

_BATCH_ERRORS = (ray.exceptions.RayTaskError, ray.exceptions.OutOfDiskError)  # does not pickle; does not find room
IDLE_CHECK_S = 0.2  # between two checks of the workers without calls
ASK_S = 1.0  # between two questions to a worker whose connection broke
CPU_STEPS = 10_000  # Ray counts CPUs in steps of 1 / CPU_STEPS
_DEAD = 4  # of ray.core.generated.gcs_pb2.ActorTableData.ActorState


class ProgressBoard:
    """An actor to which all workers send the state of their batches, so that the driver asks one process for it."""

    def __init__(self) -> None:
        self._latest: dict[int, BatchProgress] = {}

    def put(self, progress: BatchProgress) -> None:
        """Store the state of a batch; it replaces the previous one."""
        self._latest[progress.ticket] = progress

    def take(self) -> list[BatchProgress]:
        """Return the states that arrived since the last call."""
        latest, self._latest = self._latest, {}
        return [*latest.values()]


class StageWorker:
    """The actor class: one stage, whose models are loaded once; `board` is the handle of the `ProgressBoard`."""

    def __init__(self, stage: Stage, board: Any) -> None:
        _hide_unassigned_gpus()
        self._stage, self._board = stage, board
        self._broken: BatchResult | None = None

    def confirm_place(self) -> None:
        """Return as soon as the process runs: when new before `setup`, later after its batches."""

    def setup(self) -> Failed | str:
        """Load the models; return the failure, or the id of the node on which the worker runs."""
        sweep_scratch()  # files of workers killed on this node, such as the one that this worker replaces
        try:
            self._stage.setup()
        except Exception as error:
            return classify_exception(error)
        return ray.get_runtime_context().get_node_id()

    def run(self, ticket: int, entries: Sequence[tuple[Record, dict[str, int]]], *payloads: Any) -> tuple[Any, ...]:
        """Run a batch.

        Args:
            ticket: number of the batch.
            entries: records with, by upstream stage, the position of their payload in `payloads`.
            payloads: distinct payloads; Ray fetches them to this node before the call.

        Returns:
            One payload per record, each a separate object that lives as long as its record needs it; then the result
            without payloads. The result comes last because it fails if a payload before it does not pickle.
        """
        items = [Item(record, {name: payloads[at] for name, at in inputs.items()}) for record, inputs in entries]
        if self._broken:  # the driver does not know yet; further results of this process cannot be trusted
            return *[None] * len(items), self._broken
        result, returned = run_batch(self._stage, items, ticket, self._board.put.remote)
        if result.broken:
            self._broken = result
        return *returned, result


@cache
def _name_actor_class(stage: str) -> Any:
    """Return an actor class like `StageWorker` with the name of a stage, which `ps`, logs and Ray's dashboard show."""
    return ray.remote(type(stage, (StageWorker,), {}))


def _hide_unassigned_gpus() -> None:
    """Hide the GPUs of the node from a worker that has no share of one.

    Ray leaves them visible, and all such workers would use the first GPU, whose memory other workers count on.
    """
    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when a process uses CUDA for the first time


class RayExecutor(Executor):
    """Run workers as actors; the driver only receives references and outcomes without payloads.

    Ray neither restarts actors nor retries calls: the engine does, because only it knows the history of a record.

    Args:
        config: cluster to use, or resources of a Ray that is started on this machine.
    """

    parallel = True

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self._config = config or ExecutorConfig()
        self._started_ray = False
        self._cpu_scale = 1.0  # of the CPUs that workers reserve
        self._actors: dict[int, Any] = {}
        self._specs: dict[int, StageSpec] = {}
        self._nodes: dict[int, str] = {}  # of workers that are ready
        self._without_place: set[int] = set()  # workers for which Ray has not started a process
        self._disconnected: dict[int, float] = {}  # workers whose connection broke, with the time of the next question
        self._checked_idle_at = -math.inf
        self._calls: dict[Any, _Call] = {}  # by the reference to the result
        self._board: Any = None
        self._asked_at = 0.0
        self._answer: Any = None  # reference to the answer of the board that is awaited

    @staticmethod
    def count_gpus(config: ExecutorConfig) -> int:
        """Count the GPUs of the running cluster, or those of this machine if Ray is to be started here.

        Raises:
            EnvironmentFault: no cluster answers at the address.
        """
        if config.cluster is None and not ray.is_initialized():
            import torch

            return torch.cuda.device_count()

        executor = RayExecutor(config)
        executor.open()
        try:
            return int(ray.cluster_resources().get("GPU", 0))
        finally:
            executor.close()

    def open(self) -> None:
        """Connect to the cluster, or start Ray on this machine.

        A Ray of a single machine with fewer CPUs than the workers reserve together runs all stages at once, too: each
        worker then reserves less.

        Raises:
            EnvironmentFault: `ray_unreachable` if no cluster answers at the address or it refuses the connection,
                `ray_start` if Ray does not start on this machine.
        """
        if ray.is_initialized():
            self._cpu_scale = _fit_cpus(self._config.required_cpus)
            return
        connect_to_ray(self._config)
        self._started_ray = True
        if self._config.cluster is not None:
            self._cpu_scale = _fit_cpus(self._config.required_cpus)

    def describe_resources(self) -> str:
        """Describe the CPUs and GPUs of the cluster and how many of them are free."""
        total, free = ray.cluster_resources(), ray.available_resources()
        parts = [f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in ("CPU", "GPU")]
        return f"Ray offers {' and '.join(parts)}"

    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Create an actor."""
        cpus, gpus = self._compute_needs(spec)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        actor = _name_actor_class(spec.name).options(**options).remote(spec.stage, self._require_board())
        self._actors[worker] = actor
        self._specs[worker] = spec
        self._without_place.add(worker)
        self._calls[actor.confirm_place.remote()] = _Call(worker, _Purpose.PLACE)
        self._calls[actor.setup.remote()] = _Call(worker, _Purpose.SETUP)

    def _compute_needs(self, spec: StageSpec) -> tuple[float, float]:
        """Return the CPUs and GPUs that a worker of a stage reserves; Ray gives it a thread for each whole CPU."""
        steps = round(spec.num_cpus * self._cpu_scale * CPU_STEPS, 3)  # a rounding error must not cost a step
        return math.floor(steps) / CPU_STEPS, spec.num_gpus

    def find_obstacles(self, waiting: Sequence[int], idle: Sequence[int]) -> list[int]:
        """Return idle workers whose nodes have room without them, and waiting ones that would take that room."""
        without_place = [worker for worker in waiting if worker in self._without_place]
        if not without_place:
            return []
        nodes = {
            node: _Node(r.get("CPU", 0.0), r.get("GPU", 0.0)) for node, r in available_resources_per_node().items()
        }
        for worker in idle:
            if (node := self._nodes.get(worker)) in nodes:
                nodes[node].idle.append((worker, *self._compute_needs(self._specs[worker])))
        ended: list[int] = []
        for worker in without_place:
            cpus, gpus = self._compute_needs(self._specs[worker])
            counts = {node: n for node in nodes.values() if (n := node.count_to_end(cpus, gpus)) is not None}
            if counts:
                node = min(counts, key=counts.__getitem__)
                ended += node.reserve(cpus, gpus, counts[node])
        return [worker for worker in idle if worker in self._without_place] + ended if ended else []

    def submit(self, worker: int, ticket: int, entries: Sequence[BatchEntry]) -> None:
        """Send records and references to a worker; payloads are transferred between workers."""
        positions: dict[Any, int] = {}
        entries_with_positions = [
            (e.record, {name: positions.setdefault(ref, len(positions)) for name, ref in e.references.items()})
            for e in entries
        ]
        method = self._actors[worker].run.options(num_returns=1 + len(entries))
        *payloads, result = method.remote(ticket, entries_with_positions, *positions)
        self._calls[result] = _Call(worker, _Purpose.BATCH, ticket, payloads)

    def wait(self, timeout_s: float, on_progress: ProgressCallback) -> list[WorkerReport]:
        """Wait until a call ends, then report all calls that have ended."""
        self._read_board(on_progress)
        self._ask_disconnected()
        ended = self._find_ended_calls()
        if not ended and not self._calls:
            time.sleep(timeout_s)
        elif not ended:
            ray.wait(list(self._calls), num_returns=1, timeout=timeout_s, fetch_local=False)
            ended = self._find_ended_calls()

        reports: list[WorkerReport] = []
        lost: dict[int, Exception | Failed] = {}
        for reference, result in zip(ended, _fetch_results(ended), strict=True):
            call = self._calls.pop(reference)
            try:
                if isinstance(result, ray.exceptions.RayError):
                    raise result
                if call.purpose is _Purpose.PLACE:
                    self._without_place.discard(call.worker)
                    continue
                if call.purpose is _Purpose.CONNECTION:
                    lost.setdefault(call.worker, ConnectionError())
                    continue
                broken = result.broken if isinstance(result, BatchResult) else None
                if broken:
                    lost.setdefault(call.worker, broken)
                else:
                    reports.append(self._report(call, result))
            except ray.exceptions.ActorUnavailableError:
                # Ray does not know yet whether the process or its node is gone.
                self._disconnected[call.worker] = time.monotonic() + ASK_S
            except ray.exceptions.RayError as error:
                if call.ticket is not None and isinstance(error, ray.exceptions.ObjectLostError):
                    reports.append(PayloadLost(call.ticket, _short(error)))
                elif call.ticket is not None and isinstance(error, _BATCH_ERRORS):
                    cause = getattr(error, "cause", error)
                    failure = classify_exception(cause if isinstance(cause, Exception) else error)
                    reports.append(BatchFailed(call.ticket, failure))
                else:
                    lost.setdefault(call.worker, error)

        for worker in self._find_dead_idle_workers():
            lost.setdefault(worker, ray.exceptions.ActorDiedError())
        return reports + [self._report_lost(worker, error) for worker, error in lost.items()]

    def _require_board(self) -> Any:
        if self._board is None:
            self._board = ray.remote(ProgressBoard).options(num_cpus=0, max_restarts=-1).remote()
        return self._board

    def _read_board(self, on_progress: ProgressCallback) -> None:
        """Ask the board once a second, without waiting for its answer."""
        now = time.monotonic()
        if self._answer is None and now - self._asked_at >= PROGRESS_S:
            self._answer, self._asked_at = self._require_board().take.remote(), now
        elif self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            try:
                reports = ray.get(answer)
            except ray.exceptions.RayError:  # the board restarts after the loss of its node
                return
            on_progress(reports)

    def _ask_disconnected(self) -> None:
        """Call the workers whose connection broke until Ray knows what became of them.

        After the loss of a node this takes as long as the node may miss heartbeats; until then, Ray calls it alive.
        """
        now = time.monotonic()
        for worker, time_to_ask in [*self._disconnected.items()]:
            if time_to_ask <= now:
                del self._disconnected[worker]
                self._calls[self._actors[worker].confirm_place.remote()] = _Call(worker, _Purpose.CONNECTION)

    def _find_ended_calls(self) -> list[Any]:
        calls = list(self._calls)
        return ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)[0] if calls else []

    def _find_dead_idle_workers(self) -> list[int]:
        """Return the workers that died without a call, which would have reported it."""
        now = time.monotonic()
        if now - self._checked_idle_at < IDLE_CHECK_S:
            return []
        self._checked_idle_at = now
        idle = self._actors.keys() - {call.worker for call in self._calls.values()} - self._disconnected.keys()
        return [worker for worker in idle if _is_dead(self._actors[worker])]

    def _report(self, call: _Call, result: object) -> WorkerReport:
        if isinstance(result, BatchResult) and call.ticket is not None:
            self._metrics.count_batch(self._specs[call.worker].name, result)
            return result.to_report(call.ticket, call.payloads)
        if isinstance(result, Failed):
            self.kill_worker(call.worker)
            return WorkerLost(call.worker, LossCause.SETUP, result.sentence)
        self._nodes[call.worker] = str(result)
        return WorkerReady(call.worker, self._nodes[call.worker])

    def _report_lost(self, worker: int, error: Exception | Failed) -> WorkerLost:
        node = self._nodes.get(worker)
        self.kill_worker(worker)
        if isinstance(error, Failed):
            return WorkerLost(worker, LossCause.GPU, error.sentence)
        if isinstance(error, ConnectionError):
            return WorkerLost(worker, LossCause.NODE, f"the connection to its machine broke for a while (node {node})")
        text = str(error)
        alive = {n["NodeID"] for n in ray.nodes() if n["Alive"]}
        if (node and node not in alive) or "node has died" in text:
            return WorkerLost(worker, LossCause.NODE, f"its machine is gone (node {node})")
        if isinstance(error, ray.exceptions.OutOfMemoryError):
            return WorkerLost(worker, LossCause.OUT_OF_MEMORY, _short(error))
        if node is None:
            raised = "raised in its creation task" in text  # the stage cannot be unpickled: a package is missing there
            cause = LossCause.SETUP if raised else LossCause.DIED
            return WorkerLost(worker, cause, f"the process ended while it started: {' '.join(text.split())[-500:]}")
        if "INTENDED_USER_EXIT" in text:
            return WorkerLost(worker, LossCause.EXITED, "the stage ended the process")
        return WorkerLost(worker, LossCause.DIED, "the process vanished: crash, os._exit, or a signal such as SIGKILL")

    def kill_worker(self, worker: int) -> None:
        """Kill the actor and drop its calls."""
        self._calls = {reference: call for reference, call in self._calls.items() if call.worker != worker}
        self._nodes.pop(worker, None)
        self._specs.pop(worker, None)
        self._without_place.discard(worker)
        self._disconnected.pop(worker, None)
        ray.kill(self._actors.pop(worker))

    def publish(self, statistics: RunStatistics) -> None:
        """Set the gauges for the Ray dashboard and Prometheus."""
        self._metrics.set_gauges(statistics)

    @cached_property
    def _metrics(self) -> RayMetrics:
        return RayMetrics()  # registers them, which needs a connection

    def close(self) -> None:
        """Kill all actors; shut Ray down if it was started here."""
        if ray.is_initialized():
            for worker in list(self._actors):
                self.kill_worker(worker)
            if self._board is not None:
                ray.kill(self._board)
                self._board = self._answer = None
            if self._started_ray:
                ray.shutdown()
                self._started_ray = False
        sweep_scratch()  # files of the last worker that was killed


def _fit_cpus(required: float) -> float:
    """Return the factor by which workers of a single machine reserve fewer CPUs, so that all of them can start.

    A cluster of several nodes may be about to grow and is left alone: its workers wait.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    offered = ray.cluster_resources().get("CPU", 0.0)
    if len(nodes) != 1 or not 0 < offered < required:
        return 1.0
    return offered / required


@dataclass(slots=True, eq=False)
class _Node:
    """The free resources of a node, and the idle workers there with what each reserves."""

    cpus: float
    gpus: float
    idle: list[tuple[int, float, float]] = field(default_factory=list)

    def count_to_end(self, cpus: float, gpus: float) -> int | None:
        """Count the idle workers that must end for a worker with these needs; None if all are too few."""
        free_cpus, free_gpus = self.cpus + 0.5 / CPU_STEPS, self.gpus + 0.5 / CPU_STEPS
        for n, (_, idle_cpus, idle_gpus) in enumerate([*self.idle, (0, 0.0, 0.0)]):
            if free_cpus >= cpus and free_gpus >= gpus:
                return n
            free_cpus, free_gpus = free_cpus + idle_cpus, free_gpus + idle_gpus
        return None

    def reserve(self, cpus: float, gpus: float, n: int) -> list[int]:
        """End the first `n` idle workers and give a worker what it needs; return those that end."""
        ended, self.idle = self.idle[:n], self.idle[n:]
        self.cpus += sum(e[1] for e in ended) - cpus
        self.gpus += sum(e[2] for e in ended) - gpus
        return [e[0] for e in ended]


class _Purpose(Enum):
    """The purposes of calls."""

    PLACE = auto()  # tells that the process runs
    SETUP = auto()
    BATCH = auto()
    CONNECTION = auto()  # tells whether the process still runs after its connection broke


@dataclass(slots=True)
class _Call:
    """A pending call of an actor; those of batches have a ticket."""

    worker: int
    purpose: _Purpose
    ticket: int | None = None
    payloads: list[Any] = field(default_factory=list)


def _fetch_results(references: list[Any]) -> list[Any]:
    """Return the results of calls that have ended, or the errors of those that failed."""
    try:
        return ray.get(references)  # one request for all
    except ray.exceptions.RayError:
        return [_fetch_result(reference) for reference in references]


def _fetch_result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return error


def _is_dead(actor: Any) -> bool:
    """Return whether this process knows that an actor is dead, without a request; Ray Data uses the same method."""
    state = getattr(actor, "_get_local_state", None)  # not public: without it the next batch reveals the loss
    return state is not None and state() == _DEAD


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
