"""Diffusion: noise schedules and sampler steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from joyvasa.errors import ConfigError

ScheduleMode = Literal["linear", "cosine", "quadratic", "sigmoid"]
Target = Literal["sample", "noise"]
Sampler = Literal["ancestral", "ddim"]
Generators = torch.Generator | Sequence[torch.Generator]

MAX_STEPS = 500  # rows of the step table in JoyVASA's networks, without that of clean motion
FIRST_BETA, LAST_BETA = 1e-4, 0.02  # all schedules except cosine (Ho et al. 2020)
COSINE_OFFSET = 0.008  # keeps the first betas of the cosine schedule from vanishing (Nichol and Dhariwal 2021)
COSINE_MAX_BETA = 0.999


def beta_schedule(mode: ScheduleMode, n_steps: int) -> Tensor:
    """Return the variance that each step adds.

    Args:
        mode: shape of the schedule.
        n_steps: number of steps between clean motion and pure noise.

    Returns:
        Betas, shape (n_steps + 1,), float32; entry 0, clean motion, is 0.

    Raises:
        ConfigError: `diffusion_steps` if `n_steps` is not between 1 and `MAX_STEPS`; `diffusion_schedule` if the
            mode is unknown.
    """
    if not 1 <= n_steps <= MAX_STEPS:
        raise ConfigError(
            "diffusion_steps",
            f"diffusion steps: found {n_steps}; expected 1 to {MAX_STEPS}: choose a number in this range",
        )

    if mode == "linear":
        betas = torch.linspace(FIRST_BETA, LAST_BETA, n_steps)
    elif mode == "quadratic":
        betas = torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, n_steps) ** 2
    elif mode == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-5, 5, n_steps)) * (LAST_BETA - FIRST_BETA) + FIRST_BETA
    elif mode == "cosine":
        time = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
        alpha_bars = torch.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
        betas = (1 - alpha_bars[1:] / alpha_bars[:-1]).clamp(FIRST_BETA, COSINE_MAX_BETA).float()
    else:
        raise ConfigError(
            "diffusion_schedule",
            f"diffusion schedule: found {mode!r}; expected linear, cosine, quadratic or sigmoid: choose one",
        )

    return torch.cat([torch.zeros(1), betas])


class DiffusionSchedule(nn.Module):
    """Schedule of T = `n_steps` steps. Entry t of each buffer belongs to step t; entry 0 is clean motion.

    Raises:
        ConfigError: see `beta_schedule`.
    """

    betas: Tensor
    alphas: Tensor
    alpha_bars: Tensor
    sigmas_flex: Tensor
    sigmas_inflex: Tensor

    def __init__(self, n_steps: int, mode: ScheduleMode = "cosine") -> None:
        super().__init__()
        betas = beta_schedule(mode, n_steps)
        alphas = 1 - betas
        alpha_bars = alphas.log().cumsum(0).exp()
        sigmas = torch.zeros_like(betas)
        sigmas[1:] = ((1 - alpha_bars[:-1]) / (1 - alpha_bars[1:]) * betas[1:]).sqrt()

        self.register_buffer("betas", betas)
        self.register_buffer("alphas", alphas)
        self.register_buffer("alpha_bars", alpha_bars)  # share of the signal in the variance
        self.register_buffer("sigmas_flex", betas.sqrt())  # upper bound of the posterior deviation
        self.register_buffer("sigmas_inflex", sigmas)  # lower bound of the posterior deviation

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffusionSchedule:
        # The schedule stays in float32 when the network is cast: half precision loses the last alpha_bars.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""
        return len(self.betas) - 1

    def sigma(self, step: int, flexibility: float) -> Tensor:
        """Return the standard deviation of the noise that the ancestral step from `step`, 1 to T, adds.

        `flexibility` is 0 for the lower bound of the posterior deviation, 1 for the upper bound.
        """
        return flexibility * self.sigmas_flex[step] + (1 - flexibility) * self.sigmas_inflex[step]

    def add_noise(self, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Diffuse clean motion, (batch, frames, dim), to a step of each record, 0 to T, shape (batch,).

        The noise consists of standard normal numbers.
        """
        alpha_bar = self.alpha_bars[step][:, None, None]
        return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise

    def clean_from_noise(self, x: Tensor, noise: Tensor, step: int) -> Tensor:
        """Recover clean motion from motion at a step and the noise in it; the inverse of `add_noise`."""
        alpha_bar = self.alpha_bars[step]
        return (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()

    def ancestral_step(
        self, x: Tensor, prediction: Tensor, noise: Tensor | None, step: int, target: Target, flexibility: float = 0.0
    ) -> Tensor:
        """Sample the motion at `step - 1` from that at `step` (ancestral sampling, Ho et al. 2020).

        Args:
            x: motion at `step`, shape (batch, frames, dim).
            prediction: output of the network, shape of `x`.
            noise: standard normal numbers, shape of `x`; None at step 1, which adds no noise.
            step: step, 1 to T.
            target: quantity that the network predicts.
            flexibility: see `sigma`.

        Returns:
            Motion at `step - 1`, shape of `x`.
        """
        alpha, alpha_bar, next_alpha_bar = self.alphas[step], self.alpha_bars[step], self.alpha_bars[step - 1]
        if target == "noise":
            mean = (x - (1 - alpha) / (1 - alpha_bar).sqrt() * prediction) / alpha.sqrt()
        else:
            x_weight, prediction_weight = (1 - next_alpha_bar) * alpha.sqrt(), (1 - alpha) * next_alpha_bar.sqrt()
            mean = (x_weight * x + prediction_weight * prediction) / (1 - alpha_bar)

        return mean if noise is None else mean + self.sigma(step, flexibility) * noise

    def subsequence(self, n_steps: int) -> list[int]:
        """Return the steps of a sampler with `n_steps` predictions, 1 to T: T, evenly down to 1, and 0.

        The last prediction is always made at step 1, as in full sampling.

        Raises:
            ConfigError: `diffusion_steps`.
        """
        if not 1 <= n_steps <= self.n_steps:
            raise ConfigError(
                "diffusion_steps",
                f"sampling steps: found {n_steps}; expected 1 to {self.n_steps}, the steps of the trained schedule: "
                "choose a number in this range",
            )

        return [*torch.linspace(self.n_steps, 1, n_steps, dtype=torch.float64).round().int().tolist(), 0]

    def ddim_step(self, x: Tensor, clean: Tensor, step: int, next_step: int) -> Tensor:
        """Compute the motion at `next_step` from that at `step` (DDIM with eta 0, Song et al. 2021).

        Args:
            x: motion at `step`, shape (batch, frames, dim).
            clean: predicted clean motion, shape of `x`.
            step: step, 1 to T.
            next_step: later step in the sampler's order, 0 to `step - 1`.

        Returns:
            Motion at `next_step`, shape of `x`.
        """
        alpha_bar, next_alpha_bar = self.alpha_bars[step], self.alpha_bars[next_step]
        ratio = ((1 - next_alpha_bar) / (1 - alpha_bar)).sqrt()
        return ratio * x + (next_alpha_bar.sqrt() - ratio * alpha_bar.sqrt()) * clean


def draw_noise(shape: Sequence[int], generator: Generators | None, device: torch.device) -> Tensor:
    """Draw standard normal numbers.

    Args:
        shape: shape of the result; the first dimension is the batch.
        generator: one generator for the batch; or one per record, whose draws are then independent of the batch; or
            None for PyTorch's global generator. Numbers are drawn on the device of the generator.
        device: device of the result.

    Raises:
        ValueError: the number of generators is not the size of the batch.
    """
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(f"{len(generator)} generators for a batch of {shape[0]}")
        return torch.cat([draw_noise((1, *shape[1:]), single, device) for single in generator])

    source = generator.device if generator else device
    return torch.randn(*shape, generator=generator, device=source).to(device)


def noise_sequence(
    shape: Sequence[int], device: torch.device, noise: Tensor | None = None, generator: Generators | None = None
) -> Iterator[Tensor]:
    """Yield the noise of one sampling run: the start x_T, then one draw per step.

    Args:
        shape: shape of one draw.
        device: device of the draws.
        noise: start of the run, or all draws in order, shape (draws, *shape).
        generator: source of the draws not given in `noise`, see `draw_noise`.

    Yields:
        One draw, float32.

    Raises:
        ValueError: sampling needs more draws than are given in `noise`.
    """
    if noise is not None and noise.ndim > len(shape):
        yield from noise.to(device)
        raise ValueError(f"sampling needs more than the {len(noise)} draws given")

    yield draw_noise(shape, generator, device) if noise is None else noise.to(device)
    while True:
        yield draw_noise(shape, generator, device)
