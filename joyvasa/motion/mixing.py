"""Motion for a recording and a driving motion together: the lips may follow either."""

from __future__ import annotations

from dataclasses import replace

import torch

from joyvasa.motion.driving import DrivingConfig, lip_mask
from joyvasa.motion.keypoints import check_keypoint_count
from joyvasa.motion.sequence import MotionSequence


def mix_motions(driving: MotionSequence, sampled: MotionSequence, config: DrivingConfig) -> MotionSequence:
    """Return a driving motion whose lips follow a motion that was sampled from sound.

    Args:
        driving: motion from a file or a video; head pose and all keypoints but the lips are its own.
        sampled: motion from the sound, of the same length and rate.
        config: `mouth_from` selects the lips: `sound` for those of `sampled`, `mix` for the mean of both, `motion` for
            those of `driving`.

    Raises:
        InputError: `keypoints_mismatch`.
        ConfigError: `bad_driving_option` if the lip keypoints of the motion are unknown.
    """
    if not config.mixes_mouth:
        return driving
    check_keypoint_count(driving.expression.shape[1], sampled.expression.shape[1])
    lips = lip_mask(config, driving.expression.shape[1])
    weight = 1.0 if config.mouth_from == "sound" else 0.5
    mixed = torch.lerp(driving.expression, sampled.expression, weight)
    return replace(driving, expression=torch.where(lips, mixed, driving.expression))
