"""Runs every worker as a Ray actor. The only module that imports Ray."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.exceptions
from ray.util import metrics

from joyvasa.errors import EnvironmentFault
from manifests.record import Record
from manifests.scratch import sweep_scratch
from pipelines.engine.executors.base import (
    BatchFailed,
    BatchResult,
    Cause,
    Entry,
    ExecutorConfig,
    PayloadLost,
    WorkerReport,
    WorkerLost,
    WorkerReady,
    run_batch,
)
from pipelines.engine.graph import StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Failed, Item, Ok, Stage, classify_exception

_BATCH_ERRORS = (ray.exceptions.RayTaskError, ray.exceptions.OutOfDiskError)  # does not pickle; does not find room
_DEAD = 4  # of ray.core.generated.gcs_pb2.ActorTableData.ActorState


class StageWorker:
    """What runs in an actor: one stage, its models loaded once."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._broken: BatchResult | None = None

    def setup(self) -> Failed | str:
        """Loads the models; returns what went wrong, or the node on which it runs."""
        sweep_scratch()  # of workers that were killed on this machine, such as the one that this one replaces
        try:
            self._stage.setup()
        except Exception as error:
            return classify_exception(error)
        return ray.get_runtime_context().get_node_id()

    def run(self, entries: Sequence[tuple[Record, dict[str, int]]], *payloads: Any) -> tuple[Any, ...]:
        """Runs a batch.

        Args:
            entries: each record, and by upstream stage the position of its payload in `payloads`.
            payloads: each once, however many records share it. Ray brings them to this machine before the call.

        Returns:
            One payload per record, so that it lives as long as its own record needs it and not as long as its batch;
            then the result without payloads. It comes last because it fails if a payload before it does not pickle.
        """
        items = [Item(record, {name: payloads[at] for name, at in inputs.items()}) for record, inputs in entries]
        if self._broken:  # the driver has not yet heard of it; nobody may trust what comes now
            return *[None] * len(items), self._broken
        result, returned = run_batch(self._stage, items)
        if result.broken:
            self._broken = result
        return *returned, result


class RayExecutor:
    """Workers are actors; the driver holds references and sees small outcomes only.

    Actors are never restarted by Ray and calls never repeated by it: the engine replaces and repeats, because only
    it knows what a record has already done.

    Args:
        config: where Ray is.
    """

    parallel = True

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self._config = config or ExecutorConfig()
        self._started_ray = False
        self._actors: dict[int, Any] = {}
        self._stages: dict[int, str] = {}
        self._nodes: dict[int, str] = {}
        self._calls: dict[Any, _Call] = {}  # by the reference of what the driver reads
        self._metrics: _Metrics | None = None

    @staticmethod
    def count_gpus(config: ExecutorConfig) -> int:
        """Count the GPUs of the running cluster, or those of this machine where Ray is to be started here.

        Raises:
            EnvironmentFault: no cluster answers at the address.
        """
        if _cluster_address(config) is None and not ray.is_initialized():
            import torch

            return torch.cuda.device_count()
        executor = RayExecutor(config)
        executor.open()
        try:
            return int(ray.cluster_resources().get("GPU", 0))
        finally:
            executor.close()

    def open(self) -> None:
        """Connects to the cluster, or starts Ray on this machine.

        Raises:
            EnvironmentFault: no cluster answers at the address.
        """
        if ray.is_initialized():
            return
        config, address = self._config, _cluster_address(self._config)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        if address is None:
            options |= {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus, "address": "local"}
            options |= {"object_store_memory": config.object_store_bytes, "include_dashboard": config.dashboard}
        else:
            options["address"] = address
        try:
            ray.init(**options)
        except (ConnectionError, TimeoutError, ray.exceptions.RayError) as error:
            text = f"Ray at {address or 'this machine'}: {error}; expected a running cluster: see `ray status` there"
            raise EnvironmentFault("ray_unreachable", text) from error
        self._started_ray = True

    def count_workers(self, spec: StageSpec) -> int:
        """As many as the stage asks for."""
        return spec.workers

    def start_worker(self, worker: int, spec: StageSpec) -> None:
        """Asks Ray for an actor."""
        actor_class = ray.remote(StageWorker).options(
            num_cpus=spec.num_cpus, num_gpus=spec.num_gpus, max_restarts=0, max_task_retries=0
        )
        actor = actor_class.remote(spec.stage)
        self._actors[worker] = actor
        self._stages[worker] = spec.name
        self._calls[actor.setup.remote()] = _Call(worker, None)

    def submit(self, worker: int, ticket: int, entries: Sequence[Entry]) -> None:
        """Sends records and references; payloads go from worker to worker."""
        positions: dict[Any, int] = {}
        sent = [
            (e.record, {name: positions.setdefault(ref, len(positions)) for name, ref in e.references.items()})
            for e in entries
        ]
        method = self._actors[worker].run.options(num_returns=1 + len(entries))
        *payloads, result = method.remote(sent, *positions)
        self._calls[result] = _Call(worker, ticket, payloads)

    def wait(self, timeout_s: float) -> list[WorkerReport]:
        """Waits for any call to end, then reports all that have."""
        if not self._calls:
            time.sleep(timeout_s)
        else:
            ray.wait(list(self._calls), num_returns=1, timeout=timeout_s, fetch_local=False)
        reports: list[WorkerReport] = []
        lost: dict[int, Exception | Failed] = {}
        for reference in self._ended():
            call = self._calls.pop(reference)
            try:
                result = ray.get(reference)
                broken = result.broken if isinstance(result, BatchResult) else None
                if broken:
                    lost.setdefault(call.worker, broken)
                else:
                    reports.append(self._report(call, result))
            except ray.exceptions.RayError as error:
                if call.ticket is not None and isinstance(error, ray.exceptions.ObjectLostError):
                    reports.append(PayloadLost(call.ticket, _short(error)))
                elif call.ticket is not None and isinstance(error, _BATCH_ERRORS):
                    cause = getattr(error, "cause", error)
                    failure = classify_exception(cause if isinstance(cause, Exception) else error)
                    reports.append(BatchFailed(call.ticket, failure))
                else:
                    lost.setdefault(call.worker, error)
        idle = self._actors.keys() - {call.worker for call in self._calls.values()}
        for worker in idle:
            if _is_dead(self._actors[worker]):
                lost.setdefault(worker, ray.exceptions.ActorDiedError())
        return reports + [self._report_lost(worker, error) for worker, error in lost.items()]

    def _ended(self) -> list[Any]:
        calls = list(self._calls)
        return ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)[0] if calls else []

    def _report(self, call: _Call, result: object) -> WorkerReport:
        if isinstance(result, BatchResult) and call.ticket is not None:
            self._shown().count(self._stages[call.worker], result)
            return result.report(call.ticket, call.payloads)
        if isinstance(result, Failed):
            self.kill_worker(call.worker)
            return WorkerLost(call.worker, Cause.SETUP, result.sentence)
        self._nodes[call.worker] = str(result)
        return WorkerReady(call.worker)

    def _report_lost(self, worker: int, error: Exception | Failed) -> WorkerLost:
        node = self._nodes.get(worker)
        self.kill_worker(worker)
        if isinstance(error, Failed):
            return WorkerLost(worker, Cause.GPU, error.sentence)
        text = str(error)
        alive = {n["NodeID"] for n in ray.nodes() if n["Alive"]}
        if (node and node not in alive) or "node has died" in text:
            return WorkerLost(worker, Cause.NODE, f"its machine is gone (node {node})")
        if isinstance(error, ray.exceptions.OutOfMemoryError):
            return WorkerLost(worker, Cause.OUT_OF_MEMORY, _short(error))
        if node is None:
            raised = "raised in its creation task" in text  # the stage cannot even be made there: a package is missing
            cause = Cause.SETUP if raised else Cause.DIED
            return WorkerLost(worker, cause, f"the process ended while it started: {' '.join(text.split())[-500:]}")
        if "INTENDED_USER_EXIT" in text:
            return WorkerLost(worker, Cause.EXITED, "the stage ended the process")
        return WorkerLost(worker, Cause.DIED, "the process vanished: crash, os._exit, or a signal such as SIGKILL")

    def kill_worker(self, worker: int) -> None:
        """Kills the actor and forgets its calls."""
        self._calls = {reference: call for reference, call in self._calls.items() if call.worker != worker}
        self._nodes.pop(worker, None)
        self._stages.pop(worker, None)
        ray.kill(self._actors.pop(worker))

    def publish(self, statistics: RunStatistics) -> None:
        """Sets the gauges, for the Ray dashboard and Prometheus."""
        self._shown().set(statistics)

    def _shown(self) -> _Metrics:
        self._metrics = self._metrics or _Metrics()
        return self._metrics

    def close(self) -> None:
        """Kills all actors; ends Ray if it was started here."""
        if ray.is_initialized():
            for worker in list(self._actors):
                self.kill_worker(worker)
            if self._started_ray:
                ray.shutdown()
                self._started_ray = False
        sweep_scratch()  # of the last worker that was killed; no other one came to do it


def _cluster_address(config: ExecutorConfig) -> str | None:
    """Return the address of the running cluster; None if Ray is to be started on this machine."""
    return config.address or os.environ.get("RAY_ADDRESS")  # set inside `ray job submit`


@dataclass(slots=True)
class _Call:
    """A call that an actor has not answered yet: of a batch, or of `setup` if there is no ticket."""

    worker: int
    ticket: int | None
    payloads: list[Any] = field(default_factory=list)


class _Metrics:
    """Metrics of a run, by stage.

    All are the driver's: Ray collects them from a process now and then, so what a worker has counted since is lost
    when it ends, and the driver alone knows which results count.
    """

    def __init__(self) -> None:
        keys = ("stage",)
        self._counters = {
            name: metrics.Counter(f"joyvasa_{name}", text, keys)
            for name, text in {
                "records": "records that passed a stage",
                "failures": "records that failed in a stage, each time counted",
                "frames": "video frames made by a stage",
                "busy_seconds": "time that workers of a stage spent on batches",
            }.items()
        }
        bounds = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]
        self._seconds = metrics.Histogram("joyvasa_batch_seconds", "time for one batch", bounds, keys)
        self._batch = metrics.Histogram("joyvasa_batch_records", "records in one batch", [1, 2, 4, 8, 16, 32, 64], keys)
        self._gauges = {
            name: metrics.Gauge(f"joyvasa_{name}", text, keys)
            for name, text in {
                "queue_depth": "records that wait for a stage",
                "workers": "workers of a stage that are ready",
                "batch_fill": "how full batches are, 0 to 1",
                "busy_fraction": "how much of the time workers run while there is something to run, 0 to 1",
            }.items()
        }

    def count(self, stage: str, result: BatchResult) -> None:
        """Counts one batch."""
        tags = {"stage": stage}
        passed = [outcome for outcome in result.outcomes if isinstance(outcome, Ok)]
        frames = sum(o.facts["frames"] for o in passed if isinstance(o.facts.get("frames"), int))  # type: ignore[misc]
        counts = {"records": len(passed), "failures": len(result.outcomes) - len(passed), "frames": frames}
        for name, n in (counts | {"busy_seconds": result.seconds}).items():
            if n:
                self._counters[name].inc(n, tags)
        self._seconds.observe(result.seconds, tags)
        if result.outcomes:
            self._batch.observe(len(result.outcomes), tags)

    def set(self, statistics: RunStatistics) -> None:
        """Shows the present state."""
        for stage, numbers in statistics.stages.items():
            for name, gauge in self._gauges.items():
                gauge.set(float(getattr(numbers, name)), {"stage": stage})


def _is_dead(actor: Any) -> bool:
    """Whether Ray knows that an actor is gone; without asking anybody. Ray Data uses the same method."""
    state = getattr(actor, "_get_local_state", None)  # not public: without it the next batch finds out
    return state is not None and state() == _DEAD


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
