"""Whether the head moves with the rhythm of the voice: beat alignment."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn, NotMeasured
from joyvasa.metrics.support.motion_readout import require_motion, resample_series
from joyvasa.metrics.support.sound import RATE

MIN_S = 3.0
SMOOTHING = 5.0  # frames; sigma of the Gaussian over the speed
TOLERANCE = 9.0  # frames squared; sigma squared of the score
ONSET_REACH = 3  # frames both ways in which an onset is the strongest: at most four in a second
ONSET_CONTEXT = 12  # frames both ways whose mean an onset exceeds
ONSET_EXCESS = 1.5  # times that mean


class BeatMetric(Metric):
    """Beat alignment as in Bailando (Siyao et al., 2022), which SadTalker took over for heads.

    Mean over the beats of the sound of exp(-d^2 / 18), d the frames at 25 Hz to the nearest beat of the motion. Beats
    of the motion are the moments in which the head is slowest, those of the sound its onsets.
    """

    name: ClassVar[str] = "beat"
    needs: ClassVar[str] = "the motion, and sound"
    needs_frames: ClassVar[bool] = False
    columns: ClassVar[tuple[MetricColumn, ...]] = (
        MetricColumn(
            "beat_align",
            "Beat alignment",
            "how near the turning points of the head's motion lie to the onsets of the voice; 1 if all coincide",
            "",
            "higher",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        motion = require_motion(clip, min_s=MIN_S)
        if isinstance(motion, NotMeasured):
            return FixedMeasurement(self.all_missing(motion.code, motion.sentence))
        if clip.soundtrack is None:
            return FixedMeasurement(self.all_missing("no_sound", "the video has no sound; expected a sound stream"))
        # The tips of the head's three axes, each one long, move as points on the head do.
        tips = (motion.rotation + motion.translation[:, None]).double().numpy().reshape(len(motion), 9)
        points = np.stack([resample_series(tip, motion.frames_per_second, RATE) for tip in tips.T], axis=1)
        score = beat_alignment(motion_beats(points.reshape(-1, 3, 3)), sound_beats(clip.soundtrack.onset_strength))
        if score is None:
            return FixedMeasurement(self.all_missing("no_beats", "motion or sound have no beat; expected some of both"))
        return FixedMeasurement({"beat_align": score})


def motion_beats(points: np.ndarray) -> np.ndarray:
    """Frames in which a motion is slowest: strict local minima of its smoothed speed.

    Args:
        points: shape (T, points, 3), at 25 Hz.

    Returns:
        int64, sorted.
    """
    from scipy.ndimage import gaussian_filter  # heavy: only where it is used

    speed = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
    smooth = gaussian_filter(speed, SMOOTHING)
    inner = smooth[1:-1]
    return np.flatnonzero((inner < smooth[:-2]) & (inner < smooth[2:])) + 1


def sound_beats(strength: np.ndarray) -> np.ndarray:
    """Onsets: peaks of the onset strength that stand out from their surroundings.

    Args:
        strength: at 25 Hz, shape (n,).

    Returns:
        int64 values' numbers, sorted.
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    strength = strength.astype(np.float64)
    highest = maximum_filter1d(strength, 2 * ONSET_REACH + 1, mode="nearest")
    usual = uniform_filter1d(strength, 2 * ONSET_CONTEXT + 1, mode="nearest")
    return np.flatnonzero((strength == highest) & (strength > ONSET_EXCESS * usual))


def beat_alignment(motion: np.ndarray, sound: np.ndarray) -> float | None:
    """The score; None where one of the two has no beat.

    Args:
        motion: frames of the motion's beats, sorted.
        sound: frames of the sound's beats.
    """
    if not len(motion) or not len(sound):
        return None
    after = np.searchsorted(motion, sound)
    neighbours = motion[np.clip([after - 1, after], 0, len(motion) - 1)]
    distance = np.abs(sound - neighbours).min(axis=0).astype(np.float64)
    return float(np.exp(-(distance**2) / (2 * TOLERANCE)).mean())
