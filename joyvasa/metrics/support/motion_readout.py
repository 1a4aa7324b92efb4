"""What keypoints of a motion say about mouth and eyes, without any picture.

Of LivePortrait's 21 keypoints, 20 lies on the upper lip and 19 on the lower one; 11 and 15 on the upper lids, 13 and 16
below them. Which ones do was found by correlating all pairs with the opening ratios (height over width, from landmarks
of the picture) that five of LivePortrait's motion files hold beside the keypoints, 633 frames: the vertical distance
of the lips follows the ratio of the mouth with r = 0.91, that of the lids the mean ratio of the eyes with r = 0.97.
Slopes and intercepts are least-squares fits to the same frames. So the openings are estimates: good for ranges, blinks
and rhythm, not for the absolute opening of one person.

The compact networks give lips and lids the same numbers, and lengths in distances between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joyvasa.metrics.base import Clip, NotMeasured
from joyvasa.motion.sequence import MotionSequence

KEYPOINTS = 21
UPPER_LIP, LOWER_LIP = 20, 19
UPPER_LIDS, LOWER_LIDS = (11, 15), (13, 16)  # of both eyes

Series = NDArray[np.float64]


@dataclass(frozen=True)
class OpeningFit:
    """What makes openings, height over width, of vertical distances between keypoints.

    Args:
        mouth_slope, mouth_intercept: for the lips.
        eye_slope, eye_intercept: for the lids.
    """

    mouth_slope: float
    mouth_intercept: float
    eye_slope: float
    eye_intercept: float


LIVEPORTRAIT = OpeningFit(5.216, 0.1515, 17.14, 0.2717)
# The mean face of the compact networks: a mouth is 0.69 wide, eyes are 0.457 wide and open by 0.22.
COMPACT = OpeningFit(1 / 0.69, 0.0, 1 / 0.457, 0.22 / 0.457)


def select_opening_fit(clip: Clip) -> OpeningFit:
    """The one that belongs to the clip's motion."""
    return COMPACT if clip.absolute_expression else LIVEPORTRAIT


def require_motion(clip: Clip, *, min_s: float) -> MotionSequence | NotMeasured:
    """The clip's motion if it lasts `min_s` seconds, or why it cannot be read."""
    if clip.motion is None:
        return NotMeasured("no_motion", "the motion is not known; expected a video of this program")
    duration_s = len(clip.motion) / clip.motion.frames_per_second
    if duration_s < min_s:
        return NotMeasured("too_short", f"motion of {duration_s:.2f} s; expected at least {min_s:g} s")
    return clip.motion


def require_readable_motion(clip: Clip, *, min_s: float) -> MotionSequence | NotMeasured:
    """As `known_motion`, if its keypoints are those of the published weights."""
    n_keypoints = KEYPOINTS if clip.motion is None else clip.motion.expression.shape[1]
    if n_keypoints != KEYPOINTS:
        found = f"motion of {n_keypoints} keypoints"
        return NotMeasured("keypoints_unknown", f"{found}; expected the {KEYPOINTS} of the published weights")
    return require_motion(clip, min_s=min_s)


def estimate_mouth_opening(motion: MotionSequence, how: OpeningFit = LIVEPORTRAIT) -> Series:
    """Estimated opening of the mouth, height over width, shape (T,); 0 is closed, below it is pressed."""
    height = motion.expression[:, :, 1].double().numpy()
    return how.mouth_intercept + how.mouth_slope * (height[:, LOWER_LIP] - height[:, UPPER_LIP])


def estimate_eye_opening(motion: MotionSequence, how: OpeningFit = LIVEPORTRAIT) -> Series:
    """Estimated opening of the eyes, height over width, mean of both, shape (T,); 0 is closed."""
    height = motion.expression[:, :, 1].double().numpy()
    return how.eye_intercept + how.eye_slope * (height[:, LOWER_LIDS] - height[:, UPPER_LIDS]).mean(axis=1)


def resample_series(series: Series, frames_per_second: float, rate: float) -> Series:
    """A series at another rate, linearly interpolated; the value of a frame holds for its middle."""
    if frames_per_second == rate:
        return series
    n_values = int(len(series) / frames_per_second * rate)
    times = (np.arange(n_values) + 0.5) / rate
    return np.interp(times, (np.arange(len(series)) + 0.5) / frames_per_second, series)
