"""A motion brought to another frame rate or length."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from joyvasa.motion.sequence import MotionSequence


def resample_motion(motion: MotionSequence, frames_per_second: float) -> MotionSequence:
    """The motion at another frame rate, with the same speed.

    Frame i of the result shows the time i / frames_per_second, interpolated linearly between two frames; angles on
    the shorter way around the circle. The duration is kept to half a frame.

    Args:
        motion: at least one frame.
        frames_per_second: wanted.

    Returns:
        The argument itself where the rate is right already.
    """
    if motion.frames_per_second == frames_per_second:
        return motion
    n_frames = max(1, round(len(motion) * frames_per_second / motion.frames_per_second))
    places = np.arange(n_frames) * (motion.frames_per_second / frames_per_second)
    places = torch.from_numpy(np.minimum(places, len(motion) - 1))
    before = places.long()
    after = (before + 1).clamp(max=len(motion) - 1)
    weight = places - before

    def between(values: Tensor) -> Tensor:
        wide = values.double().flatten(1)
        return (wide[before] + (wide[after] - wide[before]) * weight[:, None]).float().unflatten(1, values.shape[1:])

    def unwrapped(degrees: Tensor) -> Tensor:
        return torch.from_numpy(np.unwrap(degrees.double().numpy(), period=360, axis=0))

    return MotionSequence(
        expression=between(motion.expression),
        scale=between(motion.scale),
        translation=between(motion.translation),
        pitch=between(unwrapped(motion.pitch)),
        yaw=between(unwrapped(motion.yaw)),
        roll=between(unwrapped(motion.roll)),
        frames_per_second=frames_per_second,
    )


def fit_motion_length(motion: MotionSequence, n_frames: int) -> MotionSequence:
    """The motion cut to a number of frames, or its last frame held until there are as many.

    Args:
        motion: at least one frame.
        n_frames: wanted, at least one.
    """
    frames = torch.arange(n_frames).clamp(max=len(motion) - 1)
    return MotionSequence.from_pose(motion.expression[frames], motion.pose[frames], motion.frames_per_second)
