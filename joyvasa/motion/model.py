"""Interface of motion models: sound in, motion out, window by window. README.md explains how to add one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from joyvasa.networks.diffusion import Sampler
from joyvasa.networks.motion_sizes import MotionSizes


@runtime_checkable
class MotionModel(Protocol):
    """A network that converts windows of sound to windows of motion, for many records at once.

    Shapes: B records, n frames per window, P previous frames, D coefficients, dim features per frame of encoded sound,
    which only the model interprets. Both methods are called without gradients.
    """

    @property
    def sizes(self) -> MotionSizes:
        """Return the rates and sizes."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """Encode windows of mono sound in [-1, 1], (B, samples_per_window), as features, (B, n, dim)."""
        ...

    def sample(
        self,
        audio: Tensor,
        *,
        prev_motion: Tensor | None,
        prev_audio: Tensor | None,
        noise: Tensor,
        cfg_scale: Sequence[float],
        generator: Sequence[torch.Generator],
        sampler: Sampler,
        steps: int | None,
        flexibility: float,
        dynamic_threshold: tuple[float, float, float] | None,
    ) -> Tensor:
        """Sample the motion of one window. A model may ignore options that do not apply to it.

        Args:
            audio: features of the window, shape (B, n, dim).
            prev_motion: last frames of the previous window, shape (B, P, D); None in the first window.
            prev_audio: features of the same frames, shape (B, P, dim); None in the first window.
            noise: initial noise, standard normal, the same in all windows of a record, shape (B, n, D).
            cfg_scale: guidance scale of each record.
            generator: random generator of each record, for all further noise.
            sampler: diffusion sampler, see `SamplingConfig`.
            steps: number of diffusion steps; None for as many as in training.
            flexibility: amount of ancestral noise.
            dynamic_threshold: quantile and bounds of predictions.

        Returns:
            Coefficients in the scale of the motion template, shape (B, n, D), float32.
        """
        ...
