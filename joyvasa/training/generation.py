"""Motion that a network generates for clips of the data set, beside the true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from joyvasa.motion.sampling import Recording, SamplingConfig, sample_motion, speech_windows
from joyvasa.motion.sequence import MotionSequence, MotionTemplate
from joyvasa.motion.windows import plan_windows
from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.training.clips import ClipRecord
from joyvasa.training.samples import normalize_motion

MAX_S = 12.0  # of a clip that is generated: three windows


@dataclass(frozen=True, kw_only=True)
class GeneratedMotion:
    """Motion of one clip as it was and as the network draws it.

    Args:
        clip_id: of the clip.
        true: as it was.
        drawn: for the same sound.
    """

    clip_id: str
    true: MotionSequence
    drawn: MotionSequence


def generate_motion(
    network: MotionGenerator,
    clip: ClipRecord,
    template: MotionTemplate,
    *,
    seed: int,
    sound: np.ndarray | None = None,
) -> GeneratedMotion:
    """Draws motion for a clip.

    Args:
        network: in eval mode.
        clip: whose sound is heard.
        template: of the network.
        seed: of the noise.
        sound: float32 waveform in the place of the clip's.
    """
    n_frames = min(clip.n_frames, round(MAX_S * network.config.fps))
    n_samples = n_frames * network.config.sample_rate // network.config.fps
    waveform = np.resize(clip.waveform() if sound is None else sound, n_samples)
    device = network.start_motion_feat.device
    plan = plan_windows(n_samples, network.sizes, padding_samples=(0, 0))
    recording = Recording(
        plan=plan,
        features=speech_windows(network, [waveform], plan, device=device),
        generator=torch.Generator().manual_seed(seed),
    )
    config = SamplingConfig(cfg_scale=1.0)  # without guidance: what was learned
    (drawn,) = sample_motion(network, [recording], template, config, device=device)
    return GeneratedMotion(clip_id=clip.clip_id, true=clip.motion[:n_frames], drawn=drawn[:n_frames])


def motion_correlation(generated: GeneratedMotion, template: MotionTemplate) -> float:
    """How much drawn and true motion move alike: Pearson's coefficient along time, the mean over all numbers.

    Numbers that do not move are left out; each of the others counts alike, expression and pose.
    """
    size = len(template.expression_mean) + 7
    true, drawn = (_centred(normalize_motion(motion, template, size)) for motion in (generated.true, generated.drawn))
    norms = true.norm(dim=0) * drawn.norm(dim=0)
    moving = norms > 1e-6
    return float(((true * drawn).sum(dim=0)[moving] / norms[moving]).mean()) if bool(moving.any()) else 0.0


def _centred(frames: Tensor) -> Tensor:
    return frames - frames.mean(dim=0)
