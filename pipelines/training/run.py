"""Start and resume training runs."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from joyvasa.config import config_from_dict, config_to_dict
from joyvasa.errors import ConfigError, InputError, JoyvasaError, OutputError, first_line
from joyvasa.runtime.parsing import parse_yaml, read_limited
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.step_cost import StepCost, measure_step_cost
from joyvasa.training.trainer import StepCallback, StepValues, Trainer, TrainingResult
from manifests.problems import ManifestError
from manifests.run.lock import RunLock, create_run_lock
from manifests.storage import Storage, open_storage
from pipelines.engine.interrupts import handle_signals
from pipelines.training import RUN_FILE

LAYOUT = 1
RESUMABLE = ("training_diverged", "workers_lost")  # errors after which the run can be resumed


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Content of `train.yaml`."""

    dataset: str  # folder or URI of the data set
    workers: int  # number of worker processes; it does not affect the losses if `micro_batch_size` is set
    config: TrainingConfig  # options of the run


def start_training(
    dataset: str, run: str | os.PathLike[str], config: TrainingConfig, *, workers: int = 1, on_step: StepCallback
) -> TrainingResult:
    """Create a training run and train until its last step.

    Args:
        dataset: folder or URI of a finished data set.
        run: new folder or URI.
        config: options of the run.
        workers: number of worker processes; more than one run on Ray.
        on_step: callback for every step; only with one worker.

    Raises:
        OutputError: `run_exists`.
        JoyvasaError: an error of `joyvasa.training.trainer.Trainer`, `run_locked`, or a write error.
    """
    storage = open_storage(run)
    source = open_storage(dataset)
    Dataset(source)  # raises for an invalid data set before the run folder is created
    training_run = TrainingRun(dataset=source.root, workers=workers, config=config.for_workers(workers))

    with create_run_lock(storage) as lock:
        if storage.exists(RUN_FILE) or storage.exists("run.yaml") or Checkpoints(storage).steps():
            raise OutputError(
                "run_exists",
                f"{storage.root}: already has a run; expected a new folder: continue the run with `joyvasa resume`",
            )
        content = {
            "layout": LAYOUT,
            "dataset": training_run.dataset,
            "workers": workers,
            "config": config_to_dict(training_run.config),
        }
        storage.write(RUN_FILE, yaml.safe_dump(content, sort_keys=False, width=120).encode())
        try:
            return _train(storage, training_run, lock, on_step)
        except JoyvasaError as error:
            # ManifestError: the run may belong to another process now
            keep = isinstance(error, ManifestError) or error.code in RESUMABLE
            if not keep and not Checkpoints(storage).steps():
                storage.remove(RUN_FILE)  # nothing to resume: the folder can be used again with other options
            raise


def resume_training(run: str | os.PathLike[str], *, on_step: StepCallback) -> TrainingResult:
    """Resume a training run from its folder.

    Raises:
        InputError: `run_unreadable`.
        JoyvasaError: an error of `joyvasa.training.trainer.Trainer`, `run_locked`, or a write error.
    """
    storage = open_storage(run)
    training_run = read_training_run(storage)
    with create_run_lock(storage) as lock:
        return _train(storage, training_run, lock, on_step)


def read_training_run(storage: Storage) -> TrainingRun:
    """Read `train.yaml`.

    Raises:
        InputError: `run_unreadable`.
    """
    try:
        with storage.open(RUN_FILE) as stream:
            content = parse_yaml(read_limited(stream))
        if content["layout"] != LAYOUT or not isinstance(content["dataset"], str) or content["workers"] < 1:
            raise ValueError("written by another program")
        config = config_from_dict(TrainingConfig, content["config"], where=storage.location(RUN_FILE))
        return TrainingRun(dataset=content["dataset"], workers=content["workers"], config=config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        reason = first_line(error)[:160]
        raise InputError(
            "run_unreadable", f"{storage.location(RUN_FILE)}: cannot be read ({reason}); expected a training run"
        ) from None


def estimate_training_cost(dataset: str, config: TrainingConfig, *, steps: int) -> StepCost:
    """Measure a few steps on one worker without writing anything.

    Args:
        dataset: folder or URI of a finished data set.
        config: options of the run.
        steps: number of steps to measure.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = open_storage(folder)
        return measure_step_cost(config.for_workers(1), Dataset(open_storage(dataset)), run, steps=steps)


def _train(storage: Storage, training_run: TrainingRun, lock: RunLock, on_step: StepCallback) -> TrainingResult:
    config, workers = training_run.config, training_run.workers
    if workers > 1:
        from pipelines.training.ray import train_on_ray

        return train_on_ray(training_run.dataset, storage.root, config, workers, lock=lock)

    def renew_lock_and_report(step: int, values: StepValues) -> None:
        lock.renew()
        on_step(step, values)

    with stop_on_signals() as stop:
        dataset = Dataset(open_storage(training_run.dataset))
        return Trainer(config, dataset, storage, stop=stop.is_set, on_step=renew_lock_and_report).run()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that is set by Ctrl-C and SIGTERM; a second Ctrl-C interrupts as usual."""
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.set()

    with handle_signals(handle, signal.SIGINT, signal.SIGTERM):
        yield stop
