"""All metrics of one clip in one pass over its frames; what goes wrong with one metric costs its own numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from joyvasa.errors import JoyvasaError
from joyvasa.metrics.base import Clip, Measurement, Metric, NotMeasured, Values

Explain = Callable[[Exception], NotMeasured]
"""Why a metric that raised has no number; may raise itself where the clip must not be finished."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What was measured of one clip.

    Args:
        values: by column; None where there is no number.
        reasons: by column, why there is none.
        features: what metrics of whole sets need, by the name of the set metric.
        n_frames: that were decoded; 0 where no metric wanted to see any.
    """

    values: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, NotMeasured] = field(default_factory=dict)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    n_frames: int = 0


def explained(error: Exception) -> NotMeasured:
    """The reason that an exception stands for."""
    if isinstance(error, JoyvasaError):
        return NotMeasured(error.code, error.sentence)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return NotMeasured("metric_failed", text[:300])


def measure(clip: Clip, metrics: Sequence[Metric], frames: Iterable[np.ndarray], *, explain: Explain) -> Scores:
    """Measures a clip.

    Args:
        clip: what is measured.
        metrics: set up; each column belongs to one of them.
        frames: all of the clip in order, arrays of shape (n, height, width, 3), uint8 RGB; read once, and only if a
            metric wants to see them.
        explain: usually `explained`.

    Raises:
        Exception: what `frames` and `explain` raise.
    """
    begun = [_Begun(metric, clip, explain) for metric in metrics]
    watching = [one for one in begun if one.metric.needs_frames and one.measurement]
    n_frames = 0
    if watching:
        for batch in frames:
            n_frames += len(batch)
            for one in watching:
                one.update(batch)
    values: dict[str, float | None] = {}
    reasons: dict[str, NotMeasured] = {}
    features: dict[str, np.ndarray] = {}
    for one in begun:
        found, kept = one.finish()
        features |= kept
        for column, value in found.items():
            values[column] = None if isinstance(value, NotMeasured) else float(value)
            if isinstance(value, NotMeasured):
                reasons[column] = value
    return Scores(values=values, reasons=reasons, features=features, n_frames=n_frames)


class _Begun:
    """A metric at work; ends with the first exception."""

    def __init__(self, metric: Metric, clip: Clip, explain: Explain) -> None:
        self.metric, self._explain = metric, explain
        self.measurement: Measurement | None = None
        self._reason: NotMeasured | None = None
        try:
            self.measurement = metric.start(clip)
        except Exception as error:  # told as the reason
            self._give_up(error)

    def update(self, batch: np.ndarray) -> None:
        if self.measurement is None:
            return
        try:
            self.measurement.update(batch)
        except Exception as error:  # told as the reason
            self._give_up(error)

    def finish(self) -> tuple[Values, Mapping[str, np.ndarray]]:
        values: Values = {}
        features: Mapping[str, np.ndarray] = {}
        if self.measurement is not None:
            try:
                values = self.measurement.finish()
                features = {name: np.asarray(array, np.float32) for name, array in self.measurement.features().items()}
            except Exception as error:  # told as the reason
                self._give_up(error)
        if self._reason:
            return self.metric.all_missing(self._reason.code, self._reason.sentence), {}
        return {column.name: _checked(values.get(column.name)) for column in self.metric.columns}, features

    def _give_up(self, error: Exception) -> None:
        self._reason, self.measurement = self._explain(error), None


def _checked(value: float | NotMeasured | None) -> float | NotMeasured:
    if value is None:
        return NotMeasured("metric_failed", "the metric gave no value; expected a number or a reason")
    if not isinstance(value, NotMeasured) and not math.isfinite(value):
        return NotMeasured("not_finite", f"the metric gave {value}; expected a finite number")
    return value
