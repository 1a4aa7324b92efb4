"""Generation of motion for clips of the data set, to compare it with the true motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from joyvasa.motion.sampling import Recording, SamplingConfig, encode_windows, sample_motion
from joyvasa.motion.sequence import POSE_SIZE, MotionSequence, MotionTemplate
from joyvasa.motion.windows import iterate_windows, plan_windows
from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.training.clips import ClipRecord
from joyvasa.training.samples import normalize_motion

MAX_S = 12.0  # maximum length of generated motion: three windows


@dataclass(frozen=True, kw_only=True)
class GeneratedMotion:
    """True and generated motion of a clip."""

    clip_id: str  # id of the clip
    true: MotionSequence  # motion of the clip
    generated: MotionSequence  # motion generated for the sound


def generate_motion(
    network: MotionGenerator,
    clip: ClipRecord,
    template: MotionTemplate,
    *,
    seed: int,
    sound: np.ndarray | None = None,
) -> GeneratedMotion:
    """Generate motion for the sound of a clip.

    Args:
        network: motion generator in eval mode.
        clip: clip with the sound and the true motion.
        template: statistics of the motion.
        seed: seed of the noise.
        sound: float32 waveform to use instead of the clip's sound.
    """
    n_frames = min(clip.n_frames, round(MAX_S * network.config.fps))
    n_samples = n_frames * network.config.sample_rate // network.config.fps
    waveform = np.resize(clip.waveform() if sound is None else sound, n_samples)

    device = network.start_motion_feat.device
    plan = plan_windows(n_samples, network.sizes, padding_samples=(0, 0))
    recording = Recording(
        plan=plan,
        features=encode_windows(network, iterate_windows([waveform], plan), device=device),
        generator=torch.Generator().manual_seed(seed),
    )
    config = SamplingConfig(cfg_scale=1.0)  # without guidance
    (motion,) = sample_motion(network, [recording], template, config, device=device)
    return GeneratedMotion(clip_id=clip.clip_id, true=clip.motion[:n_frames], generated=motion[:n_frames])


def compute_motion_correlation(motion: GeneratedMotion, template: MotionTemplate) -> float:
    """Compute Pearson's correlation of true and generated motion over time, averaged over all numbers that move."""
    size = len(template.expression_mean) + POSE_SIZE
    true, generated = (normalize_motion(item, template, size) for item in (motion.true, motion.generated))
    true, generated = true - true.mean(dim=0), generated - generated.mean(dim=0)
    norms = true.norm(dim=0) * generated.norm(dim=0)
    moving = norms > 1e-6
    return float(((true * generated).sum(dim=0)[moving] / norms[moving]).mean()) if bool(moving.any()) else 0.0
