"""Adam with a schedule, clipping and a moving average of the weights; its state as plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from joyvasa.runtime.device import Precision
from joyvasa.training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of a step.

    Args:
        config: schedule.
        step: from 0.
        steps: of the run.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
    left = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * (config.final_share + (1 - config.final_share) * left)


class Optimizer:
    """Turns the gradients of a network into a step.

    Args:
        network: on its device; what needs no gradient is left as it is.
        config: of the optimizer.
        steps: of the run.
        precision: of the network; fp16 needs its losses scaled.
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
        """Adds the gradient of a loss."""
        self.scaler.scale(loss).backward()

    def gradients(self) -> list[Tensor]:
        """Of all weights; zeros where a weight had no part in any loss."""
        for value in self.parameters.values():
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        return [value.grad for value in self.parameters.values() if value.grad is not None]

    def step(self, step: int) -> float:
        """Changes the weights and forgets the gradients.

        Args:
            step: from 0; decides the learning rate.

        Returns:
            norm of the gradient before clipping; not finite where fp16 overflowed and the step was left out.
        """
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.config, step, self.steps)
        self.scaler.unscale_(self.adam)
        norm = torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip_norm)
        self.scaler.step(self.adam)
        self.scaler.update()
        self.adam.zero_grad(set_to_none=True)
        if self.config.ema_decay is not None:
            # While the average is young it follows faster, so that the first weights are forgotten.
            decay = min(self.config.ema_decay, (1 + step) / (10 + step))
            for name, value in self.parameters.items():
                self.average[name].lerp_(value.detach(), 1 - decay)
        return float(norm)

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Everything that the next step needs besides the weights: tensors by name, and numbers."""
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for name, value in self.parameters.items():
            tensors |= {f"adam.{name}.{key}": part for key, part in self.adam.state[value].items()}
        return tensors, self.scaler.state_dict()

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Goes back to what `state` gave.

        Raises:
            KeyError: something is missing.
        """
        device = next(iter(self.parameters.values())).device
        for name, value in self.average.items():
            value.copy_(tensors[f"average.{name}"])
        begun = any(name.startswith("adam.") for name in tensors)  # not before the first step that fp16 let through
        for name, value in self.parameters.items() if begun else ():
            # Adam counts steps on the CPU.
            self.adam.state[value] = {
                key: tensors[f"adam.{name}.{key}"].to("cpu" if key == "step" else device, copy=True)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(numbers))
