"""Estimation of the cost of a run, from a few steps whose results are discarded."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, replace

import torch

from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.file_store import FileStore
from joyvasa.training.trainer import Trainer

WARM_UP_STEPS = 2  # not counted: the first steps allocate memory


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Measured cost of a training step."""

    steps: int  # number of measured steps
    step_s: float  # mean duration of a step, seconds
    batch_size: int  # samples per step
    compute_share: float  # fraction of the time in which the loop did not wait for data
    peak_bytes: int  # peak memory, of the GPU if there is one, else of the process
    hours: float  # estimated duration of the whole run
    device: str  # name of the device


def measure_step_cost(config: TrainingConfig, dataset: Dataset, run: FileStore, *, steps: int = 10) -> StepCost:
    """Measure a few steps without writing anything.

    Args:
        config: options of the run.
        dataset: finished data set.
        run: empty file store.
        steps: number of steps to measure, after two warm-up steps.

    Raises:
        JoyvasaError: an error of `Trainer`.
    """
    trainer = Trainer(replace(config, steps=max(config.steps, steps + WARM_UP_STEPS)), dataset, run)
    busy_s, waited_s = 0.0, 0.0
    with contextlib.closing(trainer.load_batches(0)) as batches:
        for step in range(steps + WARM_UP_STEPS):
            values, _ = trainer.train_step(step, batches)
            if step >= WARM_UP_STEPS:
                busy_s += values["seconds"]
                waited_s += values["waited_s"]

    on_gpu = trainer.device.type == "cuda"
    return StepCost(
        steps=steps,
        step_s=busy_s / steps,
        batch_size=config.batch_size,
        compute_share=1 - waited_s / busy_s,
        peak_bytes=torch.cuda.max_memory_allocated(trainer.device) if on_gpu else _peak_bytes(),
        hours=busy_s / steps * config.steps / 3600,
        device=torch.cuda.get_device_name(trainer.device)
        if on_gpu
        else f"{trainer.device}, {torch.get_num_threads()} threads",
    )


def _peak_bytes() -> int:
    """Return the peak memory of this process."""
    import resource  # missing on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
