"""What a run will take: a few of its steps, measured and thrown away."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, replace

import torch

from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.file_store import FileStore
from joyvasa.training.trainer import Trainer

WARM_STEPS = 2  # that are not counted: the first ones make room for everything


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Costs of a step.

    Args:
        steps: that were measured.
        step_s: seconds of a step, the mean.
        batch_size: samples of a step.
        compute_share: of that time, the part in which the loop did not wait for data.
        peak_bytes: largest memory: of the GPU where there is one, else of the process.
        hours: for all steps of the run.
        device: where it ran.
    """

    steps: int
    step_s: float
    batch_size: int
    compute_share: float
    peak_bytes: int
    hours: float
    device: str


def measure_step_cost(config: TrainingConfig, dataset: Dataset, nowhere: FileStore, *, steps: int = 10) -> StepCost:
    """Measures steps of a run; nothing is written.

    Args:
        config: every option.
        dataset: finished.
        nowhere: an empty place; nothing is written there.
        steps: that are measured, after two that are not.

    Raises:
        JoyvasaError: what `Trainer` raises.
    """
    trainer = Trainer(replace(config, steps=max(config.steps, steps + WARM_STEPS)), dataset, nowhere)
    busy_s, waited_s = 0.0, 0.0
    with contextlib.closing(trainer.batches(0)) as batches:
        for step in range(steps + WARM_STEPS):
            values, _ = trainer.step(step, batches)
            if step >= WARM_STEPS:
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
    """Largest memory of this process."""
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
