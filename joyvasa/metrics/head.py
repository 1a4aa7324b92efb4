"""Range, speed and jerk of head motion."""

from __future__ import annotations

import numpy as np
import torch

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn
from joyvasa.metrics.support.motion_readout import require_motion
from joyvasa.motion.sequence import MotionSequence

MIN_S = 0.2  # five frames at 25 fps; the third difference needs four


class HeadMetric(Metric):
    """Range, speed and jerk of the head rotation in the motion."""

    name = "head"
    needs = "the motion"
    needs_frames = False
    columns = (
        MetricColumn(
            "head_range", "Head range", "largest minus smallest angle, mean of pitch, yaw and roll", "degrees"
        ),
        MetricColumn("head_speed", "Head speed", "mean angular speed of the head", "degrees/s"),
        MetricColumn(
            "head_jerk",
            "Head jerk",
            "abruptness of the motion: root mean square of the third derivative of the angles",
            "degrees/s³",
            "lower",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        motion = require_motion(clip, "head", min_s=MIN_S)
        return FixedMeasurement(
            {
                "head_range": float(np.ptp(unwrap_angles(motion), axis=0).mean()),
                "head_speed": float(rotation_steps(motion).mean() * motion.frames_per_second),
                "head_jerk": angular_jerk(motion),
            }
        )


def unwrap_angles(motion: MotionSequence) -> np.ndarray:
    """Return pitch, yaw and roll in degrees without jumps of 360, shape (T, 3)."""
    values = torch.cat([motion.pitch, motion.yaw, motion.roll], dim=1).double().numpy()
    return np.unwrap(values, period=360, axis=0)


def rotation_steps(motion: MotionSequence) -> np.ndarray:
    """Compute the rotation angle from each frame to the next in degrees, shape (T - 1,)."""
    rotation = motion.rotation.double()
    # For small angles the norm of R - I is exact, unlike the arc cosine of the trace.
    difference = torch.linalg.norm(rotation[1:] - rotation[:-1], dim=(1, 2))
    return np.degrees(2 * np.arcsin(np.clip(difference.numpy() / np.sqrt(8), 0, 1)))


def angular_jerk(motion: MotionSequence) -> float:
    """Compute the root mean square of the third derivative of the angles, degrees per second cubed."""
    third = np.diff(unwrap_angles(motion), n=3, axis=0) * motion.frames_per_second**3
    return float(np.sqrt((third**2).sum(axis=1).mean()))
