"""How often the eyes blink."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn, NotMeasured
from joyvasa.metrics.support.motion_readout import estimate_eye_opening, require_readable_motion, select_opening_fit

MIN_S = 2.0
# Part of the clip's median opening below which eyes count as closed. Half of it, and not the 0.7 that is usual for the
# eye aspect ratio: this opening falls to 0 in a blink, and a squint, down to 0.6, is none.
CLOSED = 0.5
BLINK_S = (0.08, 0.4)  # two to ten frames at 25 a second; longer is a closed eye


class BlinkMetric(Metric):
    """Blinks in the motion that was played: short stretches below half the clip's median opening of the eyes."""

    name: ClassVar[str] = "blink"
    needs: ClassVar[str] = "the motion"
    needs_frames: ClassVar[bool] = False
    columns: ClassVar[tuple[MetricColumn, ...]] = (
        MetricColumn("blink_rate", "Blinks", "blinks in a minute; people who speak have about 10 to 25", "1/min"),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        motion = require_readable_motion(clip, min_s=MIN_S)
        if isinstance(motion, NotMeasured):
            return FixedMeasurement(self.all_missing(motion.code, motion.sentence))
        n_blinks = count_motion_blinks(estimate_eye_opening(motion, select_opening_fit(clip)), motion.frames_per_second)
        return FixedMeasurement({"blink_rate": n_blinks / (len(motion) / motion.frames_per_second) * 60})


def count_motion_blinks(opening: np.ndarray, frames_per_second: float) -> int:
    """Blinks in an opening of the eyes.

    Args:
        opening: height over width, shape (T,).
        frames_per_second: of the series.
    """
    lengths, _ = find_closings(opening < CLOSED * np.median(opening))
    lengths_s = lengths / frames_per_second
    slack = 0.5 / frames_per_second  # lengths are whole frames
    return int(((lengths_s > BLINK_S[0] - slack) & (lengths_s < BLINK_S[1] + slack)).sum())


def find_closings(closed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the stretches in which eyes are closed.

    Args:
        closed: whether they are, bool (T,).

    Returns:
        Length of each stretch and the frame after it, int64 (stretches,).
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(np.int8)))
    return edges[1::2] - edges[::2], edges[1::2]
