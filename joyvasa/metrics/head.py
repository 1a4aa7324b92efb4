"""How the head moves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn, NotMeasured
from joyvasa.metrics.support.motion_readout import require_motion
from joyvasa.motion.sequence import MotionSequence

MIN_S = 0.2  # five frames at 25 a second: the third difference needs four


class HeadMetric(Metric):
    """Range, speed and jerk of the head's rotation in the motion that was played."""

    name: ClassVar[str] = "head"
    needs: ClassVar[str] = "the motion"
    needs_frames: ClassVar[bool] = False
    columns: ClassVar[tuple[MetricColumn, ...]] = (
        MetricColumn("head_range", "Head range", "largest less least angle, mean of pitch, yaw and roll", "degrees"),
        MetricColumn("head_speed", "Head speed", "angle by which the head turns in a second, mean", "degrees/s"),
        MetricColumn(
            "head_jerk",
            "Head jerk",
            "how abruptly its acceleration changes: root mean square of the third derivative of its angles",
            "degrees/s³",
            "lower",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        motion = require_motion(clip, min_s=MIN_S)
        if isinstance(motion, NotMeasured):
            return FixedMeasurement(self.all_missing(motion.code, motion.sentence))
        return FixedMeasurement(
            {
                "head_range": float(np.ptp(unwrap_angles(motion), axis=0).mean()),
                "head_speed": float(rotation_steps(motion).mean() * motion.frames_per_second),
                "head_jerk": angular_jerk(motion),
            }
        )


def unwrap_angles(motion: MotionSequence) -> np.ndarray:
    """Pitch, yaw and roll in degrees, shape (T, 3), without jumps of a whole turn."""
    values = torch.cat([motion.pitch, motion.yaw, motion.roll], dim=1).double().numpy()
    return np.unwrap(values, period=360, axis=0)


def rotation_steps(motion: MotionSequence) -> np.ndarray:
    """Angle of the rotation from each frame to the next, degrees, shape (T - 1,)."""
    rotation = motion.rotation.double()
    # For small angles the length of R - I is exact where the arc cosine of its trace is not.
    difference = torch.linalg.norm(rotation[1:] - rotation[:-1], dim=(1, 2))
    return np.degrees(2 * np.arcsin(np.clip(difference.numpy() / np.sqrt(8), 0, 1)))


def angular_jerk(motion: MotionSequence) -> float:
    """Root mean square of the third difference of the three angles, degrees per second cubed."""
    third = np.diff(unwrap_angles(motion), n=3, axis=0) * motion.frames_per_second**3
    return float(np.sqrt((third**2).sum(axis=1).mean()))
