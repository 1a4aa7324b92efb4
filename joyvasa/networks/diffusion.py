"""Diffusion: noise schedules and the steps of the samplers."""

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

MAX_STEPS = 500  # for which JoyVASA's networks have a row in their table of steps
FIRST_BETA, LAST_BETA = 1e-4, 0.02  # of all schedules but the cosine one (Ho et al. 2020)
COSINE_OFFSET = 0.008  # keeps the first steps of the cosine schedule from vanishing (Nichol and Dhariwal 2021)
COSINE_MAX_BETA = 0.999


def beta_schedule(mode: ScheduleMode, n_steps: int) -> Tensor:
    """The variance that each step adds.

    Args:
        mode: shape of the schedule.
        n_steps: steps between clean motion and pure noise.

    Returns:
        shape (n_steps + 1,), float32; entry 0 stands for clean motion and is 0.

    Raises:
        ConfigError: `diffusion_steps` outside 1 to `MAX_STEPS`, `diffusion_schedule` for an unknown mode.
    """
    if not 1 <= n_steps <= MAX_STEPS:
        raise ConfigError(
            "diffusion_steps", f"diffusion steps: found {n_steps}; expected 1 to {MAX_STEPS}: choose a number between"
        )
    if mode == "linear":
        betas = torch.linspace(FIRST_BETA, LAST_BETA, n_steps)
    elif mode == "quadratic":
        betas = torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, n_steps) ** 2
    elif mode == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-5, 5, n_steps)) * (LAST_BETA - FIRST_BETA) + FIRST_BETA
    elif mode == "cosine":
        time = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
        kept = torch.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
        betas = (1 - kept[1:] / kept[:-1]).clamp(FIRST_BETA, COSINE_MAX_BETA).float()
    else:
        raise ConfigError(
            "diffusion_schedule",
            f"diffusion schedule: found {mode!r}; expected linear, cosine, quadratic or sigmoid: choose one",
        )
    return torch.cat([torch.zeros(1), betas])


class DiffusionSchedule(nn.Module):
    """A schedule of T steps; entry t of each buffer belongs to step t, entry 0 to clean motion.

    Args:
        n_steps: T.
        mode: shape of the schedule.

    Raises:
        ConfigError: as `noise_rates`.
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
        self.register_buffer("alpha_bars", alpha_bars)  # share of the variance that is still signal
        self.register_buffer("sigmas_flex", betas.sqrt())  # upper bound of the posterior deviation
        self.register_buffer("sigmas_inflex", sigmas)  # lower bound of the posterior deviation

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffusionSchedule:
        # A network cast to half precision keeps its schedule in float32: half loses the last alpha_bars.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.betas) - 1

    def sigma(self, step: int, flexibility: float) -> Tensor:
        """Standard deviation of the noise that an ancestral step adds.

        Args:
            step: 1..T.
            flexibility: 0 for the lower bound of the posterior deviation, 1 for the upper one.
        """
        return flexibility * self.sigmas_flex[step] + (1 - flexibility) * self.sigmas_inflex[step]

    def add_noise(self, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Clean motion as it looks at a step.

        Args:
            clean: shape (batch, frames, dim).
            noise: standard normal, like `clean`.
            step: 0..T for each of the batch, shape (batch,).
        """
        kept = self.alpha_bars[step][:, None, None]
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def clean_from_noise(self, x: Tensor, noise: Tensor, step: int) -> Tensor:
        """The clean motion that `x` at a step implies when `noise` is the noise in it."""
        kept = self.alpha_bars[step]
        return (x - (1 - kept).sqrt() * noise) / kept.sqrt()

    def ancestral_step(
        self, x: Tensor, prediction: Tensor, noise: Tensor | None, step: int, target: Target, flexibility: float = 0.0
    ) -> Tensor:
        """One step of ancestral sampling (Ho et al. 2020), from `step` to `step - 1`.

        Args:
            x: motion at `step`, shape (batch, frames, dim).
            prediction: of the network, like `x`.
            noise: standard normal, like `x`; None at step 1, which adds none.
            step: 1..T.
            target: what the network predicts.
            flexibility: see `sigma`.

        Returns:
            The motion at `step - 1`, like `x`.
        """
        alpha, kept, kept_next = self.alphas[step], self.alpha_bars[step], self.alpha_bars[step - 1]
        if target == "noise":
            mean = (x - (1 - alpha) / (1 - kept).sqrt() * prediction) / alpha.sqrt()
        else:
            of_x, of_prediction = (1 - kept_next) * alpha.sqrt(), (1 - alpha) * kept_next.sqrt()
            mean = (of_x * x + of_prediction * prediction) / (1 - kept)
        return mean if noise is None else mean + self.sigma(step, flexibility) * noise

    def subsequence(self, n_steps: int) -> list[int]:
        """Steps that a few-step sampler visits: T, evenly down to 1, and 0.

        The last prediction is made at step 1, as in full sampling, wherever the others lie.

        Raises:
            ConfigError: `diffusion_steps`.
        """
        if not 1 <= n_steps <= self.n_steps:
            raise ConfigError(
                "diffusion_steps",
                f"sampling steps: found {n_steps}; expected 1 to {self.n_steps}, the steps of the trained schedule: "
                "choose a number between",
            )
        return [*torch.linspace(self.n_steps, 1, n_steps, dtype=torch.float64).round().int().tolist(), 0]

    def ddim_step(self, x: Tensor, clean: Tensor, step: int, next_step: int) -> Tensor:
        """One deterministic step (Song et al. 2021, DDIM with eta 0).

        Args:
            x: motion at `step`, shape (batch, frames, dim).
            clean: predicted clean motion, like `x`.
            step: 1..T.
            next_step: 0..step - 1.

        Returns:
            The motion at `next_step`, like `x`.
        """
        kept, kept_next = self.alpha_bars[step], self.alpha_bars[next_step]
        ratio = ((1 - kept_next) / (1 - kept)).sqrt()
        return ratio * x + (kept_next.sqrt() - ratio * kept.sqrt()) * clean


def draw_noise(shape: Sequence[int], generator: Generators | None, device: torch.device) -> Tensor:
    """Standard normal numbers.

    Args:
        shape: the first entry is the batch.
        generator: one for the whole batch; or one for each of the batch, and then what one gets does
            not depend on the others; None for PyTorch's global one.
        device: of the result; the numbers are drawn on the generator's device.
    """
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(f"{len(generator)} generators for a batch of {shape[0]}")
        return torch.cat([draw_noise((1, *shape[1:]), one, device) for one in generator])
    drawn_on = generator.device if generator else device
    return torch.randn(*shape, generator=generator, device=drawn_on).to(device)


def noise_sequence(
    shape: Sequence[int], device: torch.device, noise: Tensor | None = None, generator: Generators | None = None
) -> Iterator[Tensor]:
    """The draws of one sampling run: the start x_T, then one for each step.

    Args:
        shape: of one draw.
        device: of the draws.
        noise: the start, of `shape`; or all draws in order, shape (draws, *shape).
        generator: for what `noise` does not give; see `draw_noise`.

    Yields:
        draws of `shape`, float32.
    """
    if noise is not None and noise.ndim > len(shape):
        yield from noise.to(device)
        raise ValueError(f"sampling needs more than the {len(noise)} draws given")
    yield draw_noise(shape, generator, device) if noise is None else noise.to(device)
    while True:
        yield draw_noise(shape, generator, device)
