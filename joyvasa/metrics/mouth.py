"""How far the mouth opens."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from joyvasa.metrics.base import Clip, Column, Measurement, Metric, NoNumbers, NotMeasured
from joyvasa.metrics.support.motion_readout import mouth_opening, read_out, readable_motion

MIN_S = 1.0
PERCENTILES = (5, 95)  # of the opening, between which its range lies


class MouthMetric(Metric):
    """Opening of the mouth in the motion that was played, see `motion_readout`."""

    name: ClassVar[str] = "mouth"
    needs: ClassVar[str] = "the motion"
    needs_frames: ClassVar[bool] = False
    columns: ClassVar[tuple[Column, ...]] = (
        Column("mouth_opening", "Mouth opening", "estimated height over width of the open mouth, mean"),
        Column("mouth_range", "Mouth range", "how far the opening varies: 95th less 5th percentile"),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        motion = readable_motion(clip, min_s=MIN_S)
        if isinstance(motion, NotMeasured):
            return NoNumbers(self.all_missing(motion.code, motion.sentence))
        opening = mouth_opening(motion, read_out(clip))
        low, high = np.percentile(opening, PERCENTILES)
        return NoNumbers({"mouth_opening": float(opening.mean()), "mouth_range": float(high - low)})
