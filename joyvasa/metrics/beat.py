"""Beat alignment: whether the head moves with the rhythm of the voice."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from joyvasa.errors import InputError
from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn
from joyvasa.metrics.support.motion_readout import require_motion, resample_series
from joyvasa.metrics.support.sound import RATE

MIN_S = 3.0
SMOOTHING = 5.0  # frames; sigma of the Gaussian that smooths the speed
TOLERANCE = 9.0  # frames squared; sigma squared of the score
ONSET_REACH = 3  # frames on either side in which an onset is the maximum: at most four onsets per second
ONSET_CONTEXT = 12  # frames on either side for the local mean
ONSET_EXCESS = 1.5  # minimum ratio of an onset to the local mean


class BeatMetric(Metric):
    """Beat alignment as in Bailando (Siyao et al., 2022), adapted to heads by SadTalker.

    Mean of exp(-d^2 / 18) over the beats of the sound, where d is the distance to the nearest beat of the motion in
    frames at 25 Hz. Beats of the motion are local minima of the head speed, beats of the sound are its onsets.
    """

    name = "beat"
    needs = "the motion, and sound"
    needs_frames = False
    columns = (
        MetricColumn(
            "beat_align",
            "Beat alignment",
            "proximity of turning points of the head motion to onsets of the voice; 1 if all coincide",
            "",
            "higher",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        motion = require_motion(clip, "head", min_s=MIN_S)
        if clip.soundtrack is None:
            raise InputError("no_sound", "the video has no sound; expected a sound stream")
        # The tips of the three unit axes of the head represent points on the head.
        tips = (motion.rotation + motion.translation[:, None]).double().numpy().reshape(len(motion), 9)
        points = np.stack([resample_series(tip, motion.frames_per_second, RATE) for tip in tips.T], axis=1)
        score = beat_alignment(motion_beats(points.reshape(-1, 3, 3)), sound_beats(clip.soundtrack.onset_strength))
        if score is None:
            raise InputError("no_beats", "motion or sound has no beat; expected both to have some")
        return FixedMeasurement({"beat_align": score})


def motion_beats(points: np.ndarray) -> np.ndarray:
    """Find the frames in which a motion is slowest: strict local minima of its smoothed speed, sorted, int64.

    Args:
        points: points on the head at 25 Hz, shape (T, points, 3).
    """
    speed = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
    smooth = smooth_gaussian(speed, SMOOTHING)
    inner = smooth[1:-1]
    return np.flatnonzero((inner < smooth[:-2]) & (inner < smooth[2:])) + 1


def sound_beats(strength: np.ndarray) -> np.ndarray:
    """Find onsets: peaks of the onset strength that exceed their surroundings; sorted, int64.

    Args:
        strength: onset strength at 25 Hz, shape (n,).
    """
    strength = strength.astype(np.float64)
    if not len(strength):
        return np.empty(0, np.int64)
    local_max = _neighborhoods(strength, ONSET_REACH).max(axis=1)
    local_mean = _neighborhoods(strength, ONSET_CONTEXT).mean(axis=1)
    return np.flatnonzero((strength == local_max) & (strength > ONSET_EXCESS * local_mean))


def smooth_gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth a series, float64 (n,), with a Gaussian of four sigmas, in frames, on either side; both ends are mirrored.

    Equal neighborhoods have bit-identical results, so that a constant series stays constant.
    """
    n, reach = len(values), int(4 * sigma + 0.5)
    if not n:
        return values
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    padded = np.pad(values, reach, mode="symmetric")
    smooth = values * weights[reach]
    for offset in range(reach, 0, -1):
        pair = padded[reach - offset : reach - offset + n] + padded[reach + offset : reach + offset + n]
        smooth += pair * weights[reach - offset]
    return smooth


def _neighborhoods(values: np.ndarray, reach: int) -> np.ndarray:
    """Return each number with `reach` neighbors on either side, shape (n, 2 reach + 1); the ends are repeated."""
    return sliding_window_view(np.pad(values, reach, mode="edge"), 2 * reach + 1)


def beat_alignment(motion: np.ndarray, sound: np.ndarray) -> float | None:
    """Compute the beat alignment of the frames of the beats of motion and sound, sorted; None if one has no beat."""
    if not len(motion) or not len(sound):
        return None
    after = np.searchsorted(motion, sound)
    neighbors = motion[np.clip([after - 1, after], 0, len(motion) - 1)]
    distance = np.abs(sound - neighbors).min(axis=0).astype(np.float64)
    return float(np.exp(-(distance**2) / (2 * TOLERANCE)).mean())
