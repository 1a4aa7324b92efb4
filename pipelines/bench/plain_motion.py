"""Sampling of motion, written down as the papers have it: one record, one half of the guidance, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from joyvasa.models import Models
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import smooth
from joyvasa.motion.windows import WindowPlan
from joyvasa.networks.motion_generator import MotionGenerator, MotionGeneratorConfig


class _Table(nn.Module):
    pe: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("pe", torch.empty_like(table))


class PlainDenoiser(nn.Module):
    """The denoising network with PyTorch's transformer, masked cross-attention and all, at every step."""

    alignment_mask: Tensor

    def __init__(self, config: MotionGeneratorConfig, state: dict[str, Tensor]) -> None:
        super().__init__()
        dim = config.feature_dim
        self._constant_row = config.n_tokens if config.positional_encoding == "constant_row" else None
        self.register_buffer("alignment_mask", torch.empty_like(state["alignment_mask"]))
        self.TE, self.PE = _Table(state["TE.pe"]), _Table(state["PE.pe"])
        self.diff_step_map = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.feature_proj = nn.Linear(config.motion_feat_dim, dim)
        layer = nn.TransformerDecoderLayer(
            dim, config.decoder_heads, config.decoder_hidden, activation="gelu", batch_first=True
        )
        self.transformer = nn.TransformerDecoder(layer, config.decoder_layers)
        self.motion_dec = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, config.motion_feat_dim)
        )
        self.load_state_dict(state)

    def forward(self, motion: Tensor, audio: Tensor, prev_motion: Tensor, prev_audio: Tensor, step: Tensor) -> Tensor:
        """As `MotionGenerator.denoise`."""
        tokens = torch.cat([prev_motion, motion], dim=1)
        row = self._constant_row
        position = self.PE.pe[:, : tokens.shape[1]] if row is None else self.PE.pe[:, row : row + 1]
        x = self.feature_proj(tokens) + position + self.diff_step_map(self.TE.pe[0, step])[:, None]
        x = self.transformer(x, torch.cat([prev_audio, audio], dim=1), memory_mask=self.alignment_mask)
        return self.motion_dec(x)


class PlainSampler:
    """Motion of one recording after the other, in the full number of steps (Ho et al. 2020).

    Args:
        models: with the motion generator, whose weights it takes.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._generator = cast("MotionGenerator", models.network("motion_generator"))
        state = self._generator.denoising_net.state_dict()
        self._denoiser = PlainDenoiser(self._generator.config, state).to(models.device).eval()

    @torch.no_grad()
    def sample(self, plan: WindowPlan, features: Sequence[Tensor], seed: int) -> MotionSequence:
        """Smoothed motion.

        Args:
            plan: windows of the recording.
            features: of each window, shape (n, dim).
            seed: of its generator.
        """
        generator, sizes, options = self._generator, self._generator.config, self._models.config
        random = torch.Generator().manual_seed(seed)
        start = torch.randn(1, sizes.n_motions, sizes.motion_feat_dim, generator=random).to(self._models.device)
        prev_motion, prev_audio = generator.start_motion_feat, generator.start_audio_feat
        motion = []
        for window in features:
            audio = window[None].to(self._models.device)
            x = self._window(start, audio, prev_motion, prev_audio, random)
            motion.append(x[0].cpu())
            prev_motion, prev_audio = x[:, -sizes.n_prev_motions :], audio[:, -sizes.n_prev_motions :]
        kept = torch.cat(motion)[plan.first_frame :][: plan.n_frames]
        return smooth(self._models.template.denormalise(kept, sizes.fps), options.smoothing)

    def _window(
        self, x: Tensor, audio: Tensor, prev_motion: Tensor, prev_audio: Tensor, random: torch.Generator
    ) -> Tensor:
        sizes, schedule = self._generator.config, self._generator.diffusion_sched
        scale, flexibility = self._models.config.sampling.cfg_scale, self._models.config.sampling.flexibility
        silence = self._generator.null_audio_feat.expand_as(audio)
        for number in range(sizes.n_diff_steps, 0, -1):
            step = torch.tensor([number], device=x.device)
            prediction = self._denoiser(x, audio, prev_motion, prev_audio, step)[:, -sizes.n_motions :]
            if scale != 1:
                without = self._denoiser(x, silence, prev_motion, prev_audio, step)[:, -sizes.n_motions :]
                prediction = without + scale * (prediction - without)
            alpha, kept, kept_next = (
                schedule.alphas[number],
                schedule.alpha_bars[number],
                schedule.alpha_bars[number - 1],
            )
            if sizes.target == "noise":
                x = (x - (1 - alpha) / (1 - kept).sqrt() * prediction) / alpha.sqrt()
            else:
                x = ((1 - kept_next) * alpha.sqrt() * x + (1 - alpha) * kept_next.sqrt() * prediction) / (1 - kept)
            if number > 1:
                sigma = flexibility * schedule.sigmas_flex[number] + (1 - flexibility) * schedule.sigmas_inflex[number]
                x = x + sigma * torch.randn(x.shape, generator=random).to(x.device)
        return x
