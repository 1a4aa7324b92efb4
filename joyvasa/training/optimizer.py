"""Adam with a learning rate schedule, gradient clipping and a moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from joyvasa.runtime.device import Precision
from joyvasa.training.config import OptimizerConfig


def compute_learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Compute the learning rate of a step, counted from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
    decay = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * (config.final_share + (1 - config.final_share) * decay)


class Optimizer:
    """Updates the weights of a network from its gradients.

    Args:
        network: network on its device; weights that require no gradient are not changed.
        config: options of the optimizer.
        steps: number of steps of the run.
        precision: precision of the network; fp16 enables loss scaling.
    """

    def __init__(
        self, network: nn.Module, config: OptimizerConfig, *, steps: int, precision: Precision = "fp32"
    ) -> None:
        self.config, self.steps = config, steps
        self.parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
        values = list(self.parameters.values())
        self.adam = torch.optim.Adam(values, lr=config.learning_rate)
        self.scaler = torch.amp.GradScaler(values[0].device.type, enabled=precision == "fp16")
        self.average: dict[str, Tensor] = {}
        if config.ema_decay is not None:
            self.average = {name: value.detach().clone() for name, value in self.parameters.items()}

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of a loss."""
        self.scaler.scale(loss).backward()

    def gradients(self) -> list[Tensor]:
        """Return the gradients of all weights; zeros for weights that did not contribute to a loss."""
        for value in self.parameters.values():
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        return [value.grad for value in self.parameters.values() if value.grad is not None]

    def step(self, step: int) -> float:
        """Update the weights and reset the gradients.

        Returns:
            Norm of the gradient before clipping; not finite if fp16 overflowed and the update was skipped.
        """
        for group in self.adam.param_groups:
            group["lr"] = compute_learning_rate(self.config, step, self.steps)
        self.scaler.unscale_(self.adam)
        norm = torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip_norm)
        self.scaler.step(self.adam)
        self.scaler.update()
        self.adam.zero_grad(set_to_none=True)

        if self.config.ema_decay is not None:
            # a smaller decay in the first steps discards the initial weights sooner
            decay = min(self.config.ema_decay, (1 + step) / (10 + step))
            for name, value in self.parameters.items():
                self.average[name].lerp_(value.detach(), 1 - decay)
        return float(norm)

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the state besides the weights: tensors by name, and the numbers of the gradient scaler."""
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for name, value in self.parameters.items():
            tensors |= {f"adam.{name}.{key}": part for key, part in self.adam.state[value].items()}
        return tensors, self.scaler.state_dict()

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Restore the output of `state`.

        Raises:
            KeyError: a tensor is missing.
        """
        device = next(iter(self.parameters.values())).device
        for name, value in self.average.items():
            value.copy_(tensors[f"average.{name}"])
        has_steps = any(name.startswith("adam.") for name in tensors)  # false if fp16 skipped all steps so far
        for name, value in self.parameters.items() if has_steps else ():
            # Adam keeps its step counter on the CPU
            self.adam.state[value] = {
                key: tensors[f"adam.{name}.{key}"].to("cpu" if key == "step" else device, copy=True)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(numbers))
