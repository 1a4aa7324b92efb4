"""Openings of mouth and eyes, estimated from the keypoints of a motion without any picture.

Of LivePortrait's 21 keypoints, 20 is on the upper lip and 19 on the lower one; 11 and 15 are on the upper lids, 13 and
16 below them. They were identified by correlating all pairs with the opening ratios (height over width, by landmarks)
stored in five of LivePortrait's motion files, 633 frames: the vertical distance of the lips follows the mouth ratio
with r = 0.91, that of the lids the mean eye ratio with r = 0.97. Slopes and intercepts are least-squares fits to the
same frames. The openings are estimates, suitable for ranges, blinks and rhythm, not for absolute openings.

The compact networks use the same keypoint indices for lips and lids, and the eye distance as the unit of length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joyvasa.motion.sequence import MotionSequence

UPPER_LIP, LOWER_LIP = 20, 19
UPPER_LIDS, LOWER_LIDS = (11, 15), (13, 16)  # both eyes

Series = NDArray[np.float64]


@dataclass(frozen=True)
class OpeningFit:
    """Linear map from vertical distances between keypoints to openings (height over width)."""

    mouth_slope: float
    mouth_intercept: float
    eye_slope: float
    eye_intercept: float


LIVEPORTRAIT = OpeningFit(5.216, 0.1515, 17.14, 0.2717)
# Mean face of the compact networks: mouth width 0.69, eye width 0.457, eye opening 0.22.
COMPACT = OpeningFit(1 / 0.69, 0.0, 1 / 0.457, 0.22 / 0.457)


def estimate_mouth_opening(motion: MotionSequence, fit: OpeningFit = LIVEPORTRAIT) -> Series:
    """Estimate the mouth opening, height over width, shape (T,); 0 is closed, negative is pressed."""
    height = motion.expression[:, :, 1].double().numpy()
    return fit.mouth_intercept + fit.mouth_slope * (height[:, LOWER_LIP] - height[:, UPPER_LIP])


def estimate_eye_opening(motion: MotionSequence, fit: OpeningFit = LIVEPORTRAIT) -> Series:
    """Estimate the eye opening, height over width, mean of both eyes, shape (T,); 0 is closed."""
    height = motion.expression[:, :, 1].double().numpy()
    return fit.eye_intercept + fit.eye_slope * (height[:, LOWER_LIDS] - height[:, UPPER_LIDS]).mean(axis=1)


def find_closings(closed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the length of each period in which the eyes are closed, bool (T,), and the index of the frame after it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(np.int8)))
    return edges[1::2] - edges[::2], edges[1::2]
