"""Frame rate and length of a motion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from joyvasa.motion.sequence import MotionSequence


def resample_motion(motion: MotionSequence, frames_per_second: float) -> MotionSequence:
    """Resample a motion of at least one frame to another frame rate at the same speed.

    Frame i of the result corresponds to time i / frames_per_second and is interpolated linearly between two frames,
    angles along the shorter arc. The duration changes by at most half a frame. A motion of this rate stays.
    """
    if motion.frames_per_second == frames_per_second:
        return motion
    n_frames = max(1, round(len(motion) * frames_per_second / motion.frames_per_second))
    positions = np.arange(n_frames) * (motion.frames_per_second / frames_per_second)
    positions = torch.from_numpy(np.minimum(positions, len(motion) - 1))
    before = positions.long()
    after = (before + 1).clamp(max=len(motion) - 1)
    weight = positions - before

    def interpolate(values: Tensor) -> Tensor:
        wide = values.double().flatten(1)
        return (wide[before] + (wide[after] - wide[before]) * weight[:, None]).float().unflatten(1, values.shape[1:])

    def unwrap(degrees: Tensor) -> Tensor:
        return torch.from_numpy(np.unwrap(degrees.double().numpy(), period=360, axis=0))

    return MotionSequence(
        expression=interpolate(motion.expression),
        scale=interpolate(motion.scale),
        translation=interpolate(motion.translation),
        pitch=interpolate(unwrap(motion.pitch)),
        yaw=interpolate(unwrap(motion.yaw)),
        roll=interpolate(unwrap(motion.roll)),
        frames_per_second=frames_per_second,
    )


def fit_motion_length(motion: MotionSequence, n_frames: int) -> MotionSequence:
    """Truncate a motion to a number of frames, at least one, or extend it by repeating its last frame."""
    frames = torch.arange(n_frames).clamp(max=len(motion) - 1)
    return MotionSequence.from_pose(motion.expression[frames], motion.pose[frames], motion.frames_per_second)
