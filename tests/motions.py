"""Motions for tests, and their arrays."""

import numpy as np
import torch

from joyvasa.motion.sequence import MotionSequence
from joyvasa.sample.networks.points import INNER_LOWER_LIP


def motion_to_arrays(motion):
    """Return the arrays of a motion by the names of LivePortrait's motion files."""
    names = {"exp": "expression", "scale": "scale", "t": "translation", "R": "rotation"}
    names |= {name: name for name in ("pitch", "yaw", "roll")}
    arrays = {name: getattr(motion, attribute).numpy() for name, attribute in names.items()}
    return arrays | {"fps": np.array(motion.frames_per_second)}


def random_motion(n_frames=7, keypoints=21, rate=25.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(n_frames, 7, generator=generator)
    return MotionSequence.from_pose(torch.randn(n_frames, keypoints, 3, generator=generator), pose, rate)


def assert_equal_motions(left, right):
    assert left.frames_per_second == right.frames_per_second
    assert left.expression.equal(right.expression)
    assert left.pose.equal(right.pose)


def neutral_arrays(n_frames=5):
    rotation = np.broadcast_to(np.eye(3, dtype=np.float32), (n_frames, 3, 3))
    return {
        "exp": np.zeros((n_frames, 21, 3), np.float32),
        "scale": np.ones(n_frames, np.float32),
        "t": np.zeros((n_frames, 3), np.float32),
        "R": rotation,
        "fps": np.array(25),
    }


def opening_mouth(n_frames: int) -> MotionSequence:
    """Return an open mouth and a head that rolls by 30 degrees, for the built-in model."""
    expression = torch.zeros(n_frames, 21, 3)
    expression[:, INNER_LOWER_LIP, 1] = 0.3
    pose = torch.tensor([[0.4, 0, 0, 0, 0, 0, 0]]).repeat(n_frames, 1)
    pose[:, 6] = torch.linspace(0, 30, n_frames)  # roll
    return MotionSequence.from_pose(expression, pose, 25.0)
