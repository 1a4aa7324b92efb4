"""Resumable training loop: batches from worker processes, averaged weights, checkpoints."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from joyvasa.errors import ModelError
from joyvasa.runtime.files import atomic_file

QUEUED = 8  # batches that a producer computes ahead
LOG_STEPS = 20
CHECKPOINT_STEPS = 100
Batch = tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """Options of the training loop."""

    steps: int
    learning_rate: float = 2e-3
    warm_up_steps: int = 200
    weight_decay: float = 1e-4
    averaging: float = 0.005  # weight of each step in the averaged weights
    producers: int = 1  # processes that compute batches
    threads: int = 2
    device: str = "cpu"
    seed: int = 0


class TrainingTask(ABC):
    """A network with its training data and loss."""

    name: str
    network: nn.Module
    data: tuple[Any, ...] = ()  # arguments of `draw_batches`

    @staticmethod
    @abstractmethod
    def draw_batches(*data: Any, seed: int) -> Iterator[Batch]:
        """Yield batches without end, in a worker process."""

    @abstractmethod
    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch, and figures for the log."""


@dataclass(frozen=True)
class _Batches(IterableDataset):
    """Batches without end, other ones in each process that computes them."""

    draw: Callable[..., Iterator[Batch]]
    data: tuple[Any, ...]
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        import cv2

        cv2.setNumThreads(1)
        worker = get_worker_info()
        return self.draw(*self.data, seed=self.seed + (worker.id if worker else 0))


def train_task(
    task: TrainingTask, config: LearningConfig, folder: Path, on_log: Callable[[int, dict[str, float]], None]
) -> nn.Module:
    """Train a network, or resume from its checkpoint.

    Args:
        task: task whose network is on the CPU.
        config: options of the loop.
        folder: folder of the checkpoint `<task>.pt`.
        on_log: callback, called with the step and mean figures every `LOG_STEPS` steps.

    Returns:
        The network with averaged weights.
    """
    torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    network = task.network.to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    averaged = {name: value.clone() for name, value in network.state_dict().items()}
    checkpoint, n_done = folder / f"{task.name}.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        averaged, n_done = state["averaged"], state["step"]

    # After a resume the seeds differ, so that batches are not repeated. A forked process would inherit locks of threads
    # that it does not have.
    batches = DataLoader(
        _Batches(task.draw_batches, task.data, config.seed + 1000 * n_done),
        batch_size=None,
        num_workers=config.producers,
        prefetch_factor=QUEUED,
        multiprocessing_context="spawn",
        generator=torch.Generator(),  # the default one belongs to the task
    )
    figures: list[dict[str, float]] = []
    started = time.monotonic()
    for step, batch in zip(range(n_done + 1, config.steps + 1), batches, strict=False):
        rate = config.learning_rate * min(1, step / config.warm_up_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.01 + 0.5 * (1 + math.cos(math.pi * (step - 1) / config.steps)))
        loss, numbers = task.loss(tuple(tensor.to(device) for tensor in batch))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _update_average(averaged, network, config.averaging if step > 500 else 0.05)

        figures.append({"loss": float(loss.detach()), **numbers})
        if len(figures) == LOG_STEPS:
            means = {name: float(np.mean([entry[name] for entry in figures])) for name in figures[0]}
            on_log(step, means | {"seconds": (time.monotonic() - started) / len(figures)})
            figures, started = [], time.monotonic()
        if step % CHECKPOINT_STEPS == 0 or step == config.steps:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            with atomic_file(checkpoint) as staged:
                torch.save(state | {"averaged": averaged, "step": step}, staged)
    network.load_state_dict(averaged)
    return network.eval()


def load_averaged_weights(folder: Path, task: str, prefix: str = "") -> dict[str, Tensor]:
    """Return the averaged weights whose names start with a prefix from the checkpoint of a task, without the prefix.

    Raises:
        ModelError: `checkpoint_missing`.
    """
    checkpoint = folder / f"{task}.pt"
    if not checkpoint.exists():
        raise ModelError("checkpoint_missing", f"{checkpoint}: not found; expected a checkpoint: train {task} first")
    state = torch.load(checkpoint, map_location="cpu")["averaged"]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@torch.no_grad()
def _update_average(averaged: dict[str, Tensor], network: nn.Module, weight: float) -> None:
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            averaged[name].lerp_(value, weight)
        else:
            averaged[name].copy_(value)
