"""Blink rate."""

from __future__ import annotations

import numpy as np

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn
from joyvasa.metrics.support.motion_readout import require_readable_motion, select_opening_fit
from joyvasa.motion.openings import estimate_eye_opening, find_closings

MIN_S = 2.0
# Share of the clip's median opening below which eyes count as closed. The usual 0.7 of the eye aspect ratio is too high
# here: this opening falls to 0 in a blink, and a squint reaches 0.6.
CLOSED = 0.5
BLINK_S = (0.08, 0.4)  # two to ten frames at 25 fps; longer is a closed eye


class BlinkMetric(Metric):
    """Blinks in the motion: short periods in which the eye opening is below half the median of the clip."""

    name = "blink"
    needs = "the motion"
    needs_frames = False
    columns = (MetricColumn("blink_rate", "Blinks", "blinks per minute; speakers have about 10 to 25", "1/min"),)

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        motion = require_readable_motion(clip, "eyes", min_s=MIN_S)
        n_blinks = count_motion_blinks(estimate_eye_opening(motion, select_opening_fit(clip)), motion.frames_per_second)
        return FixedMeasurement({"blink_rate": n_blinks / (len(motion) / motion.frames_per_second) * 60})


def count_motion_blinks(opening: np.ndarray, frames_per_second: float) -> int:
    """Count the blinks in a series of heights over widths of the eyes, shape (T,)."""
    lengths, _ = find_closings(opening < CLOSED * np.median(opening))
    lengths_s = lengths / frames_per_second
    slack = 0.5 / frames_per_second  # lengths are whole frames
    return int(((lengths_s > BLINK_S[0] - slack) & (lengths_s < BLINK_S[1] + slack)).sum())
