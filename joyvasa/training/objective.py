"""The loss of a batch: what the network says about two consecutive windows, compared with what was."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.runtime.device import Precision, autocast
from joyvasa.training.losses import LossConfig, loss_terms, weighted_loss
from joyvasa.training.samples import WINDOWS, Batch, truncate_windows


def pair_loss(
    network: MotionGenerator,
    batch: Batch,
    *,
    expression_size: int,
    config: LossConfig | None = None,
    truncation_mode: Literal["zero", "replicate"] = "zero",
    precision: Precision = "fp32",
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch.

    The first window begins with the learned features of a start, the second one with the last frames of the first,
    as they were: not truncated, not predicted.

    Args:
        network: in training or eval mode.
        batch: on the network's device.
        expression_size: numbers of a frame that are expression, 3 K.
        config: None for the defaults.
        truncation_mode: what stands after the end of a truncated window.
        precision: in which the network computes.

    Returns:
        the weighted sum, and its parts by name; float32 scalars.
    """
    before, n_samples = network.config.n_prev_motions, len(batch)
    # The windows of one kind after those of the other, so that each network runs once: (2 B, ...)
    end, noise, step, without_audio = (
        values.transpose(0, 1).flatten(0, 1) for values in (batch.end, batch.noise, batch.step, batch.without_audio)
    )
    audio, motion = truncate_windows(
        batch.audio.transpose(0, 1).flatten(0, 1), batch.motion.transpose(0, 1).flatten(0, 1), end, truncation_mode
    )
    given = batch.motion[:, 0, -before:]  # (B, P, D)
    with autocast(batch.audio.device, precision):
        features = network.audio_features(audio)  # (2 B, n, dim)
        heard = _whole_features(network, batch, features[:n_samples].detach())[:, -before:]
        prediction = network(
            motion,
            features,
            step=step,
            noise=noise,
            without_audio=without_audio,
            prev_motion=torch.cat([network.start_motion_feat.expand(n_samples, -1, -1), given]),
            prev_audio=torch.cat([network.start_audio_feat.expand(n_samples, -1, -1).to(heard.dtype), heard]),
        )  # (2 B, P + n, D)
    first, second = (
        loss_terms(
            one.float(),
            clean,
            expression_size=expression_size,
            end=frames,
            previous=previous,
            noise=added,
            target=network.config.target,
            config=config,
        )
        for one, clean, frames, added, previous in zip(
            *(values.chunk(WINDOWS) for values in (prediction, motion, end, noise)), (None, given), strict=True
        )
    )
    return weighted_loss(first, second, config)


@torch.no_grad()
def _whole_features(network: MotionGenerator, batch: Batch, features: Tensor) -> Tensor:
    """Features of the first windows as if none was truncated, shape (B, n, dim)."""
    rows = (batch.end[:, 0] < batch.motion.shape[2]).nonzero()[:, 0]
    if not len(rows):
        return features
    return features.index_copy(0, rows, network.audio_features(batch.audio[rows, 0]).to(features.dtype))
