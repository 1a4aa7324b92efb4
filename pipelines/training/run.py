"""A data set becomes a training run; what was begun is continued."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from joyvasa.config import config_from, plain
from joyvasa.errors import ConfigError, InputError, JoyvasaError, OutputError
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.step_cost import StepCost, measure_step_cost
from joyvasa.training.trainer import StepCallback, Trainer, TrainingResult
from manifests.errors import ManifestError
from manifests.run.lock import RunLock, create_run_lock
from manifests.storage import Storage, open_storage
from pipelines.training.run_file import RUN_FILE

LAYOUT = 1
MAX_RUN_FILE_BYTES = 1 << 20
GOES_ON = ("training_diverged", "workers_lost")  # errors whose sentences say how the run is resumed


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What `train.yaml` says.

    Args:
        dataset: folder of the data set.
        workers: processes that train together; the losses do not depend on it where `micro_batch_size` is set.
        config: every option.
    """

    dataset: str
    workers: int
    config: TrainingConfig


def start(
    dataset: str, run: str | os.PathLike[str], config: TrainingConfig, *, workers: int = 1, listener: StepCallback
) -> TrainingResult:
    """Begins a training run and trains to its end.

    Args:
        dataset: folder or URI of a finished data set.
        run: folder or URI, new.
        config: every option.
        workers: processes that train together; more than one run on Ray.
        listener: told the numbers of every step where there is one worker.

    Raises:
        OutputError: `run_exists`.
        JoyvasaError: what `joyvasa.training.trainer.Trainer` raises; `run_locked`; what writing raises.
    """
    storage = open_storage(run)
    source = open_storage(dataset)
    Dataset(source)  # a data set that is none is told before a folder is made
    begun = TrainingRun(dataset=source.root, workers=workers, config=config.for_workers(workers))
    with create_run_lock(storage) as lock:
        if storage.exists(RUN_FILE) or storage.exists("run.yaml"):
            raise OutputError(
                "run_exists", f"{storage.root}: a run is there; expected a new folder: `joyvasa resume` goes on with it"
            )
        content = {"layout": LAYOUT, "dataset": begun.dataset, "workers": workers, "config": plain(begun.config)}
        storage.write(RUN_FILE, yaml.safe_dump(content, sort_keys=False, width=120).encode())
        try:
            return _train(storage, begun, lock, listener)
        except JoyvasaError as error:
            stays = isinstance(error, ManifestError) or error.code in GOES_ON  # a lost lock makes it another's run
            if not stays and not Checkpoints(storage).steps():
                storage.remove(RUN_FILE)  # nothing was begun: the same folder may be given with better options
            raise


def resume(run: str | os.PathLike[str], *, listener: StepCallback) -> TrainingResult:
    """Goes on with a training run; needs nothing but its folder.

    Raises:
        InputError: `run_unreadable`.
        JoyvasaError: what `joyvasa.training.trainer.Trainer` raises; `run_locked`; what writing raises.
    """
    storage = open_storage(run)
    begun = read_run(storage)
    with create_run_lock(storage) as lock:
        return _train(storage, begun, lock, listener)


def read_run(storage: Storage) -> TrainingRun:
    """What `train.yaml` says.

    Raises:
        InputError: `run_unreadable`.
    """
    try:
        with storage.open(RUN_FILE) as stream:
            content = yaml.safe_load(stream.read(MAX_RUN_FILE_BYTES))
        if content["layout"] != LAYOUT or not isinstance(content["dataset"], str) or content["workers"] < 1:
            raise ValueError("not of this program")
        config = config_from(TrainingConfig, content["config"], where=storage.location(RUN_FILE))
        return TrainingRun(dataset=content["dataset"], workers=content["workers"], config=config)
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            "run_unreadable", f"{storage.location(RUN_FILE)}: cannot be read ({reason}); expected a training run"
        ) from None


def dry_run(dataset: str, config: TrainingConfig, *, steps: int) -> StepCost:
    """Measures steps of a run that is thrown away.

    Args:
        dataset: folder or URI of a finished data set.
        config: every option.
        steps: that are measured.
    """
    with tempfile.TemporaryDirectory() as nowhere:
        return measure_step_cost(
            config.for_workers(1), Dataset(open_storage(dataset)), open_storage(nowhere), steps=steps
        )


def _train(storage: Storage, begun: TrainingRun, lock: RunLock, listener: StepCallback) -> TrainingResult:
    if begun.workers > 1:
        from pipelines.training.ray import train_on_ray

        return train_on_ray(begun.dataset, storage.root, begun.config, begun.workers, lock=lock)

    def tell(step: int, values: Any) -> None:
        lock.renew()
        listener(step, values)

    with asked_to_stop() as stop:
        dataset = Dataset(open_storage(begun.dataset))
        return Trainer(begun.config, dataset, storage, stop=stop.is_set, listener=tell).run()


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set in the block; a second Ctrl-C acts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
