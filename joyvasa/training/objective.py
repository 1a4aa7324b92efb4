"""The loss of a batch of pairs of consecutive windows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.runtime.device import Precision, autocast
from joyvasa.training.losses import LossConfig, combine_loss_terms, compute_loss_terms
from joyvasa.training.samples import WINDOWS, TrainingBatch, truncate_windows


def compute_pair_loss(
    network: MotionGenerator,
    batch: TrainingBatch,
    *,
    expression_size: int,
    config: LossConfig | None = None,
    truncation_mode: Literal["zero", "replicate"] = "zero",
    precision: Precision = "fp32",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of a batch.

    The first window is preceded by the learned start features, the second one by the true last frames of the first,
    neither truncated nor predicted.

    Returns:
        The weighted sum and its parts by name; float32 scalars.
    """
    before, n_samples = network.config.n_prev_motions, len(batch)
    # All first windows, then all second ones, so that each network runs once: (2 B, ...)
    end, noise, step, without_audio = (
        values.transpose(0, 1).flatten(0, 1) for values in (batch.end, batch.noise, batch.step, batch.without_audio)
    )
    audio, motion = truncate_windows(
        batch.audio.transpose(0, 1).flatten(0, 1), batch.motion.transpose(0, 1).flatten(0, 1), end, truncation_mode
    )
    previous_motion = batch.motion[:, 0, -before:]  # (B, P, D)

    with autocast(batch.audio.device, precision):
        features = network.encode(audio)  # (2 B, n, dim)
        previous_audio = _untruncated_features(network, batch, features[:n_samples].detach())[:, -before:]
        prediction = network(
            motion,
            features,
            step=step,
            noise=noise,
            without_audio=without_audio,
            prev_motion=torch.cat([network.start_motion_feat.expand(n_samples, -1, -1), previous_motion]),
            prev_audio=torch.cat(
                [network.start_audio_feat.expand(n_samples, -1, -1).to(previous_audio.dtype), previous_audio]
            ),
        )  # (2 B, P + n, D)

    chunks = (values.chunk(WINDOWS) for values in (prediction, motion, end, noise))
    first, second = (
        compute_loss_terms(
            window_prediction.float(),
            window_motion,
            expression_size=expression_size,
            end=window_end,
            previous=previous,
            noise=window_noise,
            target=network.config.target,
            config=config,
        )
        for window_prediction, window_motion, window_end, window_noise, previous in zip(
            *chunks, (None, previous_motion), strict=True
        )
    )
    return combine_loss_terms(first, second, config)


@torch.no_grad()
def _untruncated_features(network: MotionGenerator, batch: TrainingBatch, features: Tensor) -> Tensor:
    """Recompute the features of truncated first windows from their whole sound, shape (B, n, dim)."""
    rows = (batch.end[:, 0] < batch.motion.shape[2]).nonzero()[:, 0]
    if not len(rows):
        return features
    return features.index_copy(0, rows, network.encode(batch.audio[rows, 0]).to(features.dtype))
