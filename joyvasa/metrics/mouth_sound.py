"""Correlation of mouth opening and loudness of the voice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from joyvasa.errors import InputError
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, NotMeasured, Values
from joyvasa.metrics.support.motion_readout import require_readable_motion, resample_series, select_opening_fit
from joyvasa.metrics.support.sound import RATE, Soundtrack
from joyvasa.motion.openings import Series, estimate_mouth_opening

MIN_S = 3.0  # shortest clip; in less, a few syllables dominate
MAX_LAG = 15  # frames at 25 Hz in either direction
FEATURE = "mouth_sound"


class MouthSoundMetric(Metric):
    """Pearson correlation of the mouth opening with the sound level in dB, at the best of 31 lags.

    Both series have 25 Hz. The opening is estimated from the motion (see `motion_readout`), the sound is read from the
    finished file, so that a shift introduced by any step is detected. Since the best of 31 lags is selected, the value
    is above zero even by chance. `pipelines.report.sets.compute_mouth_sound_null` estimates this chance level of
    a whole run by pairing each mouth with the sound of another record.
    """

    name = "mouth_sound"
    needs = "the motion, and sound"
    needs_frames = False
    columns = (
        MetricColumn(
            "mouth_sound_correlation",
            "Mouth and sound",
            "correlation of the mouth opening with the sound level, at the best of 31 lags",
            "",
            "higher",
        ),
        MetricColumn(
            "mouth_sound_lag",
            "Mouth behind sound",
            "lag of that correlation, frames of 40 ms; positive: mouth after sound, as in SyncNet's offset",
            "frames",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        motion = require_readable_motion(clip, "lips", min_s=MIN_S)
        if clip.soundtrack is None:
            raise InputError("no_sound", "the video has no sound; expected a sound stream")
        opening = estimate_mouth_opening(motion, select_opening_fit(clip))
        return _MouthSound(resample_series(opening, motion.frames_per_second, RATE), clip.soundtrack)


class _MouthSound(Measurement):
    def __init__(self, mouth: Series, sound: Soundtrack) -> None:
        n_values = min(len(mouth), len(sound.level))
        self._pair = np.stack([mouth[:n_values], sound.level[:n_values]]).astype(np.float32)

    def finish(self) -> Values:
        result = best_correlation(*self._pair)
        if isinstance(result, NotMeasured):
            result = result, result
        return dict(zip(("mouth_sound_correlation", "mouth_sound_lag"), result, strict=True))

    def features(self) -> Mapping[str, np.ndarray]:
        return {FEATURE: self._pair}


def best_correlation(mouth: np.ndarray, level: np.ndarray) -> tuple[float, int] | NotMeasured:
    """Compute the highest correlation within 15 frames in either direction, and its lag.

    Args:
        mouth: mouth opening at 25 Hz, shape (n,).
        level: sound level at 25 Hz, shape (n,).

    Returns:
        Pearson correlation and number of frames by which the mouth follows the sound, or the reason for no value.
    """
    n_values = len(mouth)
    if n_values < MIN_S * RATE:
        sentence = f"{n_values / RATE:.2f} s of mouth and sound; expected at least {MIN_S:g} s"
        return NotMeasured("too_short", sentence)
    mouth, level = mouth.astype(np.float64), level.astype(np.float64)
    lags = sorted(range(-MAX_LAG, MAX_LAG + 1), key=abs)  # of equal correlations the smallest lag wins
    correlations = [
        pearson(mouth[max(lag, 0) : n_values + min(lag, 0)], level[max(-lag, 0) : n_values - max(lag, 0)])
        for lag in lags
    ]
    if not np.isfinite(correlations).any():
        return NotMeasured("nothing_moves", "mouth or sound is constant; expected both to vary")
    best = int(np.nanargmax(correlations))
    return float(correlations[best]), lags[best]


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the Pearson correlation of series of shape (n,); NaN if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 else float("nan")
