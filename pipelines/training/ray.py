"""Training with several workers, on the GPUs of a Ray cluster or on CPUs, with Ray Train."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from joyvasa.config import config_from_dict, config_to_dict
from joyvasa.errors import EnvironmentFault, JoyvasaError
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.log import read_log
from joyvasa.training.trainer import StepCallback, StepValues, Trainer, TrainingResult
from joyvasa.training.worker_group import WorkerGroup
from manifests.problems import ManifestError
from manifests.run.lock import RunLock, check_lease
from manifests.storage import Storage, open_storage
from pipelines.engine.executors.base import ExecutorConfig
from pipelines.engine.executors.ray_connection import connect_to_ray
from pipelines.training.step_printer import StepPrinter

ATTEMPTS = 4  # maximum number of starts without a new checkpoint; a lost worker ends its whole group
RENEW_S = 10.0  # interval at which the lock is renewed
CHECK_S = 30.0  # interval at which the first worker checks the lock


def train_on_ray(dataset: str, run: str, config: TrainingConfig, workers: int, *, lock: RunLock) -> TrainingResult:
    """Train with a group of workers; after the loss of a worker, a new group continues from the last checkpoint.

    Args:
        dataset: folder or URI of the data set that all nodes can access.
        run: folder or URI of the run that all nodes can access.
        config: options of the run.
        workers: number of workers. Each uses a GPU, unless the device is `cpu`, or it is `auto` and the cluster has too
            few GPUs.
        lock: lock of the run, renewed regularly. If another process acquires it, the workers end within half a minute.

    Raises:
        JoyvasaError: an error of `Trainer` in a worker.
        ManifestError: a write error in a worker, or `run_locked` if another process acquired the lock.
        EnvironmentFault: `ray_train_missing`, `device_unavailable`, `workers_lost` if workers are lost repeatedly, or
            see `connect_to_ray`.
    """
    import ray

    try:
        from ray.train import TrainingFailedError
    except ImportError as error:
        raise EnvironmentFault(
            "ray_train_missing",
            f"Ray Train cannot be used ({error}); expected its packages: pip install 'joyvasa[train]'",
        ) from None

    checkpoints = Checkpoints(open_storage(run))
    attempts, last_step = 0, checkpoints.steps()[-1:]
    with _ray_cluster(ray, workers), _renew_regularly(lock.renew) as lock_errors:
        while True:
            try:
                _fit(ray, dataset, run, config, workers, lock.token)
                return _read_result(open_storage(run), config)
            except TrainingFailedError as error:
                if lock_errors:
                    raise lock_errors[0] from None
                failures = list(getattr(error, "worker_failures", {}).values())
                for failure in failures:
                    if isinstance(failure, JoyvasaError):
                        raise failure from None

                new_step = checkpoints.steps()[-1:]
                attempts, last_step = (1, new_step) if new_step != last_step else (attempts + 1, last_step)
                reason = _last_line(failures[0] if failures else error)
                if attempts == ATTEMPTS:
                    raise EnvironmentFault(
                        "workers_lost",
                        f"{run}: a worker was lost {ATTEMPTS} times without a new checkpoint ({reason}); expected "
                        "workers that keep running: see their logs, then continue with `joyvasa resume`",
                    ) from None
                step = last_step[0] if last_step else 0
                print(f"warning: workers lost ({reason}); continuing from step {step:,}", file=sys.stderr)


def _fit(ray: Any, dataset: str, run: str, config: TrainingConfig, workers: int, token: str | None) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    use_gpu = _use_gpus(config.device, workers, int(ray.cluster_resources().get("GPU", 0)))
    resources = {"CPU": 1, "GPU": 1} if use_gpu else {"CPU": 1}
    with tempfile.TemporaryDirectory() as folder:  # files of Ray Train; the run folder has all that is needed
        TorchTrainer(
            _train_worker,
            train_loop_config={
                "dataset": dataset,
                "run": run,
                "config": config_to_dict(config),
                "use_gpu": use_gpu,
                "token": token,
            },
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
            run_config=RunConfig(name="train", storage_path=folder, failure_config=FailureConfig(max_failures=0)),
        ).fit()


def _use_gpus(device: str, workers: int, gpus: int) -> bool:
    """Return whether each worker uses a GPU of the cluster."""
    if gpus < workers and device not in ("auto", "cpu"):
        raise EnvironmentFault(
            "device_unavailable",
            f"{device}: the cluster has {gpus} GPUs; expected one for each of {workers} workers: use --workers "
            f"{max(1, gpus)}, --device cpu or a larger cluster",
        )
    return device != "cpu" and gpus >= workers


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]


def _train_worker(options: dict[str, Any]) -> None:
    """Train in a worker, where Ray Train has set up `torch.distributed`."""
    from ray.train.torch import get_device

    config = config_from_dict(TrainingConfig, options["config"])
    config = dataclasses.replace(config, device=str(get_device()) if options["use_gpu"] else "cpu")
    group, storage = WorkerGroup.current(), open_storage(options["run"])
    # only the first worker prints and writes
    on_step = (
        _with_lock_check(StepPrinter(config.steps), storage, options["token"])
        if group.rank == 0
        else (lambda step, values: None)
    )
    Trainer(config, Dataset(open_storage(options["dataset"])), storage, group=group, on_step=on_step).run()


def _with_lock_check(on_step: StepCallback, storage: Storage, token: str | None) -> StepCallback:
    """Add a regular check of the lock to a callback; without the lock, a worker must not write anything."""
    checked_at = time.monotonic()

    def check_and_report(step: int, values: StepValues) -> None:
        nonlocal checked_at
        if time.monotonic() - checked_at >= CHECK_S:
            check_lease(storage, token)
            checked_at = time.monotonic()
        on_step(step, values)

    return check_and_report


def _read_result(storage: Storage, config: TrainingConfig) -> TrainingResult:
    """Return the result of a finished run from its folder."""
    checkpoints = Checkpoints(storage)
    progress = checkpoints.read_progress(checkpoints.steps()[-1])
    log = read_log(storage)
    rates, shares = log["samples_per_s"].to_pylist(), log["compute_share"].to_pylist()
    return TrainingResult(
        step=progress.step,
        steps=config.steps,
        loss=log["loss"].to_pylist()[-1],
        validation_loss=progress.validation_loss,
        step_s=sum(config.batch_size / rate for rate in rates) / len(rates),
        compute_share=sum(shares) / len(shares),
    )


@contextlib.contextmanager
def _ray_cluster(ray: Any, workers: int) -> Iterator[None]:
    """Connect to the Ray cluster of `RAY_ADDRESS`, or run a local one for the duration of a block."""
    if ray.is_initialized():
        yield
        return

    connect_to_ray(ExecutorConfig(num_cpus=max(workers, os.cpu_count() or 1)), show_logs=True)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _renew_regularly(renew: Callable[[], object]) -> Iterator[list[ManifestError]]:
    """Renew the lock in a thread for the duration of a block.

    Yields:
        List that receives the error when the lock is lost.

    Raises:
        ManifestError: `run_locked`, at the end of the block.
    """
    ended = threading.Event()
    errors: list[ManifestError] = []

    def renew_until_ended() -> None:
        while not errors and not ended.wait(RENEW_S):
            try:
                renew()
            except ManifestError as error:
                errors.append(error)

    thread = threading.Thread(target=renew_until_ended, name="training-lock", daemon=True)
    thread.start()
    try:
        yield errors
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]
