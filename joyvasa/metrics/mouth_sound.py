"""Whether the mouth follows the sound: opening of the mouth against the loudness of the voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn, NotMeasured, Values
from joyvasa.metrics.support.motion_readout import (
    Series,
    estimate_mouth_opening,
    require_readable_motion,
    resample_series,
    select_opening_fit,
)
from joyvasa.metrics.support.sound import RATE, Soundtrack

MIN_S = 3.0  # of mouth and sound; in less a few syllables decide
MAX_LAG = 15  # frames at 25 Hz, both ways
FEATURE = "mouth_sound"


class MouthSoundMetric(Metric):
    """Pearson's correlation of the mouth's opening with the level of the sound in dB, at the best of 31 lags.

    Both at 25 Hz. The opening comes from the motion (see `motion_readout`), the sound from the finished file, so a
    shift made anywhere on the way shows. Chance reaches a number above zero too, as the best of 31 lags is taken: how
    high is told by this mouth with the sound of another record of the same run, which is computed when all of them are
    there (`pipelines.report.set_metrics.mouth_sound_null`), from the two series that each record keeps.
    """

    name: ClassVar[str] = "mouth_sound"
    needs: ClassVar[str] = "the motion, and sound"
    needs_frames: ClassVar[bool] = False
    columns: ClassVar[tuple[MetricColumn, ...]] = (
        MetricColumn(
            "mouth_sound_correlation",
            "Mouth and sound",
            "correlation of the mouth's opening with the level of the sound, at the best of 31 lags",
            "",
            "higher",
        ),
        MetricColumn(
            "mouth_sound_lag",
            "Mouth behind sound",
            "lag of that correlation, frames of 40 ms; positive: the mouth moves after the sound, as SyncNet's offset",
            "frames",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """See `Metric`."""
        motion = require_readable_motion(clip, min_s=MIN_S)
        if isinstance(motion, NotMeasured):
            return FixedMeasurement(self.all_missing(motion.code, motion.sentence))
        if clip.soundtrack is None:
            return FixedMeasurement(self.all_missing("no_sound", "the video has no sound; expected a sound stream"))
        return _MouthSound(
            self,
            resample_series(estimate_mouth_opening(motion, select_opening_fit(clip)), motion.frames_per_second, RATE),
            clip.soundtrack,
        )


class _MouthSound(Measurement):
    def __init__(self, metric: MouthSoundMetric, mouth: Series, sound: Soundtrack) -> None:
        self._metric = metric
        n_values = min(len(mouth), len(sound.level))
        self._pair = np.stack([mouth[:n_values], sound.level[:n_values]]).astype(np.float32)

    def finish(self) -> Values:
        found = best_correlation(*self._pair)
        if isinstance(found, NotMeasured):
            return self._metric.all_missing(found.code, found.sentence)
        return {"mouth_sound_correlation": found[0], "mouth_sound_lag": found[1]}

    def features(self) -> Mapping[str, np.ndarray]:
        return {FEATURE: self._pair}


def best_correlation(mouth: np.ndarray, level: np.ndarray) -> tuple[float, int] | NotMeasured:
    """The highest correlation within 15 frames both ways, and its lag.

    Args:
        mouth: opening at 25 Hz, shape (n,).
        level: of the sound at 25 Hz, shape (n,).

    Returns:
        Pearson's correlation, and the frames by which the mouth comes after the sound; or why there is none.
    """
    n_values = len(mouth)
    if n_values < MIN_S * RATE:
        found = f"{n_values / RATE:.2f} s of mouth and sound"
        return NotMeasured("too_short", f"{found}; expected at least {MIN_S:g} s")
    mouth, level = mouth.astype(np.float64), level.astype(np.float64)
    lags = sorted(range(-MAX_LAG, MAX_LAG + 1), key=abs)  # of equal correlations the smallest lag counts
    correlations = [
        pearson(mouth[max(lag, 0) : n_values + min(lag, 0)], level[max(-lag, 0) : n_values - max(lag, 0)])
        for lag in lags
    ]
    if not np.isfinite(correlations).any():
        return NotMeasured("nothing_moves", "mouth or sound stay the same throughout; expected both to vary")
    best = int(np.nanargmax(correlations))
    return float(correlations[best]), lags[best]


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; not a number where one of the series does not vary.

    Args:
        a: shape (n,).
        b: shape (n,).
    """
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 else float("nan")
