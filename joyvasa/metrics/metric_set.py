"""All metrics of one clip in one pass over its frames; what goes wrong with one metric costs its own numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from joyvasa.bundles import open_bundle
from joyvasa.errors import JoyvasaError
from joyvasa.media.video_reader import BATCH_FRAMES, VideoInfo, stream_video
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, MetricModels, NotMeasured, Values
from joyvasa.metrics.registry import METRICS_BUNDLE, build_metric, check_availability
from joyvasa.runtime.device import choose_device

Explain = Callable[[Exception], NotMeasured]
"""Why a metric that raised has no number; may raise itself where the clip must not be finished."""


@dataclass(frozen=True, kw_only=True)
class ClipScores:
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


def explain_exception(error: Exception) -> NotMeasured:
    """The reason that an exception stands for."""
    if isinstance(error, JoyvasaError):
        return NotMeasured(error.code, error.sentence)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return NotMeasured("metric_failed", text[:300])


class MetricSet:
    """Metrics that measure clips together, each decoded once. Those that cannot be used here give their reason.

    Args:
        names: names of metrics.
        models: bundle with their weights, a name or a folder.
        device: device that their networks work on.
        commercial: whether only weights that may be used commercially count.
        explain: see `measure_clip`; also for a metric that cannot be loaded.

    Attributes:
        metrics: those that can be used, set up.
        missing: columns of the others, with the reason.

    Raises:
        ConfigError: `metric_unknown`.
        ModelError: the bundle cannot be opened.
        Exception: what `explain` raises.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        models: str = METRICS_BUNDLE,
        device: str = "auto",
        commercial: bool = False,
        explain: Explain = explain_exception,
    ) -> None:
        self._explain = explain
        self.metrics: list[Metric] = []
        self.missing: dict[MetricColumn, NotMeasured] = {}
        bundle = open_bundle(models)
        for metric in map(build_metric, names):
            reason = check_availability(metric, bundle, commercial=commercial)
            if reason is None and metric.roles:
                try:
                    metric.setup(MetricModels(bundle=bundle, device=choose_device(device)))
                except Exception as error:  # what one metric lacks is no reason to lose the others
                    reason = explain(error)
            if reason is None:
                self.metrics.append(metric)
            else:
                self.missing |= dict.fromkeys(metric.columns, reason)

    @property
    def columns(self) -> list[MetricColumn]:
        """Columns of all metrics, those that can be used first."""
        return [*(column for metric in self.metrics for column in metric.columns), *self.missing]

    def measure(
        self, clip: Clip, *, batch_frames: int = BATCH_FRAMES, on_frames: Callable[[int], object] | None = None
    ) -> ClipScores:
        """Measure a clip; columns that cannot be had here have their reason.

        Args:
            clip: what is measured.
            batch_frames: frames that are decoded at once.
            on_frames: called with the number of frames seen so far; what it raises ends the measurement.

        Raises:
            InputError: the video cannot be read.
            Exception: what `explain` and `on_frames` raise.
        """
        rate = Fraction(clip.frames_per_second).limit_denominator(100_000)
        info = VideoInfo(clip.width, clip.height, rate, clip.has_sound)
        frames = _counted(stream_video(clip.video, info=info, batch_frames=batch_frames), on_frames)
        scores = measure_clip(clip, self.metrics, frames, explain=self._explain)
        missing = self.empty_scores()
        return replace(
            scores, values={**scores.values, **missing.values}, reasons={**scores.reasons, **missing.reasons}
        )

    def empty_scores(self, reason: NotMeasured | None = None) -> ClipScores:
        """Return scores without any number.

        Args:
            reason: why those that can be used have none; None leaves them out.
        """
        usable = [column for metric in self.metrics for column in metric.columns] if reason else []
        reasons = {column.name: why for column, why in self.missing.items()} | {
            column.name: reason for column in usable if reason
        }
        return ClipScores(values=dict.fromkeys(reasons), reasons=reasons)


def measure_clip(
    clip: Clip, metrics: Sequence[Metric], frames: Iterable[np.ndarray], *, explain: Explain
) -> ClipScores:
    """Measures a clip.

    Args:
        clip: what is measured.
        metrics: set up; each column belongs to one of them.
        frames: all of the clip in order, arrays of shape (n, height, width, 3), uint8 RGB; read once, and only if a
            metric wants to see them.
        explain: usually `explain_exception`.

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
    return ClipScores(values=values, reasons=reasons, features=features, n_frames=n_frames)


def _counted(batches: Iterable[np.ndarray], on_frames: Callable[[int], object] | None) -> Iterator[np.ndarray]:
    n_frames = 0
    for batch in batches:
        yield batch
        n_frames += len(batch)
        if on_frames:
            on_frames(n_frames)


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
