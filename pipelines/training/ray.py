"""Training with several processes, on the GPUs of a Ray cluster or on CPUs, through Ray Train."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from joyvasa.config import config_from, plain
from joyvasa.errors import EnvironmentFault, JoyvasaError
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.log import read_log
from joyvasa.training.trainer import StepCallback, Trainer, TrainingResult
from joyvasa.training.worker_group import WorkerGroup
from manifests.errors import ManifestError
from manifests.run.lock import RunLock, check_lease
from manifests.storage import Storage, open_storage
from pipelines.training.step_printer import StepPrinter

ATTEMPTS = 4  # without a new checkpoint in between; a lost worker ends its whole group
WAIT_S = 10.0  # between two renewals of the lock
LOOK_S = 30.0  # between two looks of the workers at it


def train_on_ray(dataset: str, run: str, config: TrainingConfig, workers: int, *, lock: RunLock) -> TrainingResult:
    """Trains with a group of workers; when one is lost, a new group goes on from the last checkpoint.

    Args:
        dataset: folder or URI that every node reaches.
        run: likewise.
        config: every option.
        workers: how many; each takes a GPU, unless the device is `cpu`, or `auto` in a cluster that has too few.
        lock: of the run; renewed now and then. Where another process took it, the workers end within half a minute.

    Raises:
        JoyvasaError: what `Trainer` raises in a worker.
        ManifestError: likewise, for what cannot be written; `run_locked` where another process took the run meanwhile.
        EnvironmentFault: `ray_train_missing`, `ray_unreachable`, `device_unavailable`, or `workers_lost` when the
            group is lost again and again.
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
    attempts, reached = 0, checkpoints.steps()[-1:]
    with _cluster(ray, workers), _regularly(lock.renew) as locked:
        while True:
            try:
                _fit(ray, dataset, run, config, workers, lock.token)
                return _result(open_storage(run), config)
            except TrainingFailedError as error:
                if locked:
                    raise locked[0] from None
                failures = list(getattr(error, "worker_failures", {}).values())
                for failure in failures:
                    if isinstance(failure, JoyvasaError):
                        raise failure from None
                now = checkpoints.steps()[-1:]
                attempts, reached = (1, now) if now != reached else (attempts + 1, reached)
                reason = _last_line(failures[0] if failures else error)
                if attempts == ATTEMPTS:
                    raise EnvironmentFault(
                        "workers_lost",
                        f"{run}: a worker was lost {ATTEMPTS} times without a new checkpoint ({reason}); expected "
                        "workers that stay: see their logs, then `joyvasa resume` goes on",
                    ) from None
                step = reached[0] if reached else 0
                print(f"warning: workers lost ({reason}); going on from step {step:,}", file=sys.stderr)


def _fit(ray: Any, dataset: str, run: str, config: TrainingConfig, workers: int, token: str | None) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    use_gpu = _with_gpus(config.device, workers, int(ray.cluster_resources().get("GPU", 0)))
    resources = {"CPU": 1, "GPU": 1} if use_gpu else {"CPU": 1}
    with tempfile.TemporaryDirectory() as records:  # of Ray Train; ours are in the run folder
        TorchTrainer(
            _work,
            train_loop_config={
                "dataset": dataset,
                "run": run,
                "config": plain(config),
                "use_gpu": use_gpu,
                "token": token,
            },
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
            run_config=RunConfig(name="train", storage_path=records, failure_config=FailureConfig(max_failures=0)),
        ).fit()


def _with_gpus(device: str, workers: int, gpus: int) -> bool:
    """Whether each worker takes a GPU of the cluster."""
    if gpus < workers and device not in ("auto", "cpu"):
        raise EnvironmentFault(
            "device_unavailable",
            f"{device}: the cluster has {gpus} GPUs; expected one for each of {workers} workers: use --workers "
            f"{max(1, gpus)}, --device cpu or a larger cluster",
        )
    return device != "cpu" and gpus >= workers


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]


def _work(options: dict[str, Any]) -> None:
    """What each worker does; `torch.distributed` is set up."""
    from ray.train.torch import get_device

    config = config_from(TrainingConfig, options["config"])
    config = dataclasses.replace(config, device=str(get_device()) if options["use_gpu"] else "cpu")
    group, storage = WorkerGroup.current(), open_storage(options["run"])
    listener = _while_held(storage, options["token"], StepPrinter(config.steps)) if group.rank == 0 else _tell_nobody
    Trainer(config, Dataset(open_storage(options["dataset"])), storage, group=group, listener=listener).run()


def _tell_nobody(step: int, values: Any) -> None:
    pass


def _while_held(storage: Storage, token: str | None, listener: StepCallback) -> StepCallback:
    """The same, and now and then a look at the lock: what has lost it must write nothing more."""
    looked = time.monotonic()

    def tell(step: int, values: Any) -> None:
        nonlocal looked
        if time.monotonic() - looked >= LOOK_S:
            check_lease(storage, token)
            looked = time.monotonic()
        listener(step, values)

    return tell


def _result(storage: Storage, config: TrainingConfig) -> TrainingResult:
    """What the finished run came to, from its folder."""
    checkpoints = Checkpoints(storage)
    progress = checkpoints.progress(checkpoints.steps()[-1])
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
def _cluster(ray: Any, workers: int) -> Iterator[None]:
    """Ray, running: the cluster of `RAY_ADDRESS`, or one started here for the block."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.WARNING}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"address": "local", "num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, TimeoutError, ray.exceptions.RayError) as error:
        raise EnvironmentFault(
            "ray_unreachable", f"Ray: {error}; expected a running cluster: see `ray status` there"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _regularly(call: Callable[[], object]) -> Iterator[list[ManifestError]]:
    """Calls a function now and then during the block, in a thread; gives a list that tells once the lock is lost.

    Raises:
        ManifestError: `run_locked`, at the end of the block.
    """
    ended = threading.Event()
    locked: list[ManifestError] = []

    def loop() -> None:
        while not locked and not ended.wait(WAIT_S):
            try:
                call()
            except OSError:
                pass  # of a storage that cannot be reached for a while: the next round tries again
            except ManifestError as error:
                if error.code == "run_locked":
                    locked.append(error)

    thread = threading.Thread(target=loop, name="training-lock", daemon=True)
    thread.start()
    try:
        yield locked
    finally:
        ended.set()
        thread.join()
    if locked:
        raise locked[0]
