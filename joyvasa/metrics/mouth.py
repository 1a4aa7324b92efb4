"""Mouth opening."""

from __future__ import annotations

import numpy as np

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn
from joyvasa.metrics.support.motion_readout import require_readable_motion, select_opening_fit
from joyvasa.motion.openings import estimate_mouth_opening

MIN_S = 1.0
PERCENTILES = (5, 95)  # ends of the range of the opening


class MouthMetric(Metric):
    """Mouth opening in the motion, see `motion_readout`."""

    name = "mouth"
    needs = "the motion"
    needs_frames = False
    columns = (
        MetricColumn("mouth_opening", "Mouth opening", "estimated height over width of the mouth opening, mean"),
        MetricColumn("mouth_range", "Mouth range", "variation of the opening: 95th minus 5th percentile"),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        motion = require_readable_motion(clip, "lips", min_s=MIN_S)
        opening = estimate_mouth_opening(motion, select_opening_fit(clip))
        low, high = np.percentile(opening, PERCENTILES)
        return FixedMeasurement({"mouth_opening": float(opening.mean()), "mouth_range": float(high - low)})
