"""A training loop that may be killed at any moment: batches from other processes, averaged weights, checkpoints."""

from __future__ import annotations

import math
import multiprocessing
import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.errors import ModelError
from joyvasa.runtime.files import atomic_file

QUEUED = 8  # batches that wait
CHECKPOINT_STEPS = 100
Batch = tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a network is trained."""

    steps: int
    learning_rate: float = 2e-3
    warm_up_steps: int = 200
    weight_decay: float = 1e-4
    averaging: float = 0.005  # weight of each step in the averaged weights, which are the result
    producers: int = 1  # processes that make batches
    threads: int = 2
    device: str = "cpu"
    seed: int = 0


class Task(ABC):
    """What is learned."""

    name: str
    network: nn.Module

    @abstractmethod
    def batches(self, seed: int) -> Iterable[Batch]:
        """Batches without end, others for each seed; pickled and iterated in a process of its own."""

    @abstractmethod
    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and figures for the log."""


def learn(
    task: Task, config: LearningConfig, folder: Path, on_log: Callable[[int, dict[str, float]], None]
) -> nn.Module:
    """Trains, or goes on with what was begun in the folder.

    Args:
        task: with a network on the CPU.
        config: how.
        folder: for the checkpoint `<task>.pt`.
        on_log: told the step and mean figures every 20 steps.

    Returns:
        the network with averaged weights.
    """
    torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    network = task.network.to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    averaged = {name: value.clone() for name, value in network.state_dict().items()}
    place, step = folder / f"{task.name}.pt", 0
    if place.exists():
        kept = torch.load(place, map_location=device)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        averaged, step = kept["averaged"], kept["step"]

    # A forked process would inherit locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    waiting: Any = context.Queue(QUEUED)
    # Other batches than before the last kill.
    seeds = [config.seed + 1000 * step + number for number in range(config.producers)]
    producers = [context.Process(target=_produce, args=(task.batches(seed), waiting), daemon=True) for seed in seeds]
    for producer in producers:
        producer.start()
    figures: list[dict[str, float]] = []
    started = time.monotonic()
    try:
        while step < config.steps:
            batch = tuple(torch.from_numpy(array).to(device) for array in waiting.get())
            rate = config.learning_rate * min(1, (step + 1) / config.warm_up_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.01 + 0.5 * (1 + math.cos(math.pi * step / config.steps)))
            loss, numbers = task.loss(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            _average(averaged, network, config.averaging if step > 500 else 0.05)
            figures.append({"loss": float(loss.detach()), **numbers})
            if len(figures) == 20:
                means = {name: float(np.mean([entry[name] for entry in figures])) for name in figures[0]}
                on_log(step, means | {"seconds": (time.monotonic() - started) / len(figures)})
                figures, started = [], time.monotonic()
            if step % CHECKPOINT_STEPS == 0 or step == config.steps:
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
                with atomic_file(place) as staged:
                    torch.save(state | {"averaged": averaged, "step": step}, staged)
    finally:
        for producer in producers:
            producer.kill()
    network.load_state_dict(averaged)
    return network.eval()


def averaged_weights(folder: Path, task: str, prefix: str = "") -> dict[str, Tensor]:
    """Averaged weights of what a task trained, or of the part of it whose names begin with a prefix.

    Raises:
        ModelError: `checkpoint_missing`.
    """
    place = folder / f"{task}.pt"
    if not place.exists():
        raise ModelError("checkpoint_missing", f"{place}: not there; expected a checkpoint: train {task} first")
    state = torch.load(place, map_location="cpu")["averaged"]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _produce(batches: Iterable[Batch], waiting: Any) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    for batch in batches:
        while True:
            try:
                waiting.put(batch, timeout=5)
                break
            except queue.Full:
                if parent is None or not parent.is_alive():
                    waiting.cancel_join_thread()  # it was killed: nobody takes what is in the pipe
                    return


@torch.no_grad()
def _average(averaged: dict[str, Tensor], network: nn.Module, weight: float) -> None:
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            averaged[name].lerp_(value, weight)
        else:
            averaged[name].copy_(value)
