"""Sampling of motion as in the papers: one record, one half of the guidance, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from joyvasa.models import Models
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import smooth_motion
from joyvasa.motion.windows import WindowPlan
from joyvasa.networks.motion_generator import MotionGenerator


class BaselineSampler:
    """Sample the motion of one recording at a time with the full number of steps (Ho et al. 2020).

    Args:
        models: models with the motion generator.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._generator = cast("MotionGenerator", models.network("motion_generator"))

    @torch.no_grad()
    def sample(self, plan: WindowPlan, features: Sequence[Tensor], seed: int) -> MotionSequence:
        """Return smoothed motion.

        Args:
            plan: windows of the recording.
            features: audio features of each window, shape (n, dim).
            seed: seed of the noise.
        """
        generator, sizes, options = self._generator, self._generator.config, self._models.config
        random = torch.Generator().manual_seed(seed)
        start = torch.randn(1, sizes.n_motions, sizes.motion_feat_dim, generator=random).to(self._models.device)
        prev_motion, prev_audio = generator.start_motion_feat, generator.start_audio_feat

        motion = []
        for window in features:
            audio = window[None].to(self._models.device)
            x = self._sample_window(start, audio, prev_motion, prev_audio, random)
            motion.append(x[0].cpu())
            prev_motion, prev_audio = x[:, -sizes.n_prev_motions :], audio[:, -sizes.n_prev_motions :]
        frames = torch.cat(motion)[plan.first_frame :][: plan.n_frames]
        return smooth_motion(self._models.template.denormalize(frames, sizes.fps), options.smoothing)

    def _sample_window(
        self, x: Tensor, audio: Tensor, prev_motion: Tensor, prev_audio: Tensor, random: torch.Generator
    ) -> Tensor:
        sizes, schedule, denoise = self._generator.config, self._generator.diffusion_sched, self._generator.denoise
        scale, flexibility = self._models.config.sampling.cfg_scale, self._models.config.sampling.flexibility
        silence = self._generator.null_audio_feat.expand_as(audio)
        for number in range(sizes.n_diff_steps, 0, -1):
            step = torch.tensor([number], device=x.device)
            prediction = denoise(x, audio, prev_motion, prev_audio, step)[:, -sizes.n_motions :]
            if scale != 1:
                without = denoise(x, silence, prev_motion, prev_audio, step)[:, -sizes.n_motions :]
                prediction = without + scale * (prediction - without)

            alpha, bar, next_bar = schedule.alphas[number], schedule.alpha_bars[number], schedule.alpha_bars[number - 1]
            if sizes.target == "noise":
                x = (x - (1 - alpha) / (1 - bar).sqrt() * prediction) / alpha.sqrt()
            else:
                x = ((1 - next_bar) * alpha.sqrt() * x + (1 - alpha) * next_bar.sqrt() * prediction) / (1 - bar)
            if number > 1:
                sigma = flexibility * schedule.sigmas_flex[number] + (1 - flexibility) * schedule.sigmas_inflex[number]
                x = x + sigma * torch.randn(x.shape, generator=random).to(x.device)
        return x
