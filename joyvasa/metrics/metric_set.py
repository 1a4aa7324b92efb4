"""Compute all metrics of a clip in one pass over its frames; a failing metric loses only its own numbers."""

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
"""Converts an exception of a metric into a reason; may raise to abort the measurement of the clip."""


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """Results for one clip."""

    values: Mapping[str, float | None] = field(default_factory=dict)  # numbers by column; None if there is no number
    reasons: Mapping[str, NotMeasured] = field(default_factory=dict)  # reasons for missing numbers by column
    # features for set metrics, by name of the set metric
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    n_frames: int = 0  # number of decoded frames; 0 if no metric needs frames


def explain_exception(error: Exception) -> NotMeasured:
    """Convert an exception into a reason."""
    if isinstance(error, JoyvasaError):
        return NotMeasured(error.code, error.sentence)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return NotMeasured("metric_failed", text[:300])


class MetricSet:
    """Metrics that share one decoding pass per clip. Unavailable metrics report their reason.

    Args:
        names: names of metrics.
        models: name or folder of the bundle that holds their weights.
        device: device to compute on.
        commercial: whether to accept only weights licensed for commercial use.
        explain: see `measure_clip`; also called if a metric cannot be loaded.

    Attributes:
        metrics: available metrics, set up.
        missing: columns of unavailable metrics, with the reason.

    Raises:
        ConfigError: `metric_unknown`.
        ModelError: the bundle cannot be opened.
        Exception: raised by `explain`.
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
                except Exception as error:  # the other metrics remain usable
                    reason = explain(error)
            if reason is None:
                self.metrics.append(metric)
            else:
                self.missing |= dict.fromkeys(metric.columns, reason)

    @property
    def columns(self) -> list[MetricColumn]:
        """Columns of all metrics, available ones first."""
        return [*(column for metric in self.metrics for column in metric.columns), *self.missing]

    def measure(
        self, clip: Clip, *, batch_frames: int = BATCH_FRAMES, on_frames: Callable[[int], object] | None = None
    ) -> ClipScores:
        """Measure a clip; columns of unavailable metrics get their reason.

        Args:
            clip: clip to measure.
            batch_frames: number of frames decoded at once.
            on_frames: called with the number of frames processed so far; its exceptions abort the measurement.

        Raises:
            InputError: the video cannot be read.
            Exception: raised by `explain` or `on_frames`.
        """
        rate = Fraction(clip.frames_per_second).limit_denominator(100_000)
        info = VideoInfo(clip.width, clip.height, rate, clip.has_sound)
        frames = _count_frames(stream_video(clip.video, info=info, batch_frames=batch_frames), on_frames)
        scores = measure_clip(clip, self.metrics, frames, explain=self._explain)
        missing = self.empty_scores()
        return replace(
            scores, values={**scores.values, **missing.values}, reasons={**scores.reasons, **missing.reasons}
        )

    def empty_scores(self, reason: NotMeasured | None = None) -> ClipScores:
        """Return scores without numbers; `reason` is that of the available metrics, which None omits."""
        reasons = {column.name: why for column, why in self.missing.items()}
        if reason:
            reasons |= {column.name: reason for metric in self.metrics for column in metric.columns}
        return ClipScores(values=dict.fromkeys(reasons), reasons=reasons)


def measure_clip(
    clip: Clip, metrics: Sequence[Metric], frames: Iterable[np.ndarray], *, explain: Explain
) -> ClipScores:
    """Measure a clip from its frames.

    Args:
        clip: clip to measure.
        metrics: metrics that are set up, with distinct columns.
        frames: all frames of the clip in order, uint8 RGB arrays of shape (n, height, width, 3); read once, and only
            if a metric needs frames.
        explain: converts exceptions of metrics into reasons, usually `explain_exception`.

    Raises:
        Exception: raised by `frames` or `explain`.
    """
    runs = [_MetricRun(metric, clip, explain) for metric in metrics]
    frame_runs = [run for run in runs if run.metric.needs_frames and run.measurement]
    n_frames = 0
    if frame_runs:
        for batch in frames:
            n_frames += len(batch)
            for run in frame_runs:
                run.update(batch)

    values: dict[str, float | None] = {}
    reasons: dict[str, NotMeasured] = {}
    features: dict[str, np.ndarray] = {}
    for run in runs:
        run_values, run_features = run.finish()
        features |= run_features
        for column, value in run_values.items():
            values[column] = None if isinstance(value, NotMeasured) else float(value)
            if isinstance(value, NotMeasured):
                reasons[column] = value
    return ClipScores(values=values, reasons=reasons, features=features, n_frames=n_frames)


def _count_frames(batches: Iterable[np.ndarray], on_frames: Callable[[int], object] | None) -> Iterator[np.ndarray]:
    n_frames = 0
    for batch in batches:
        yield batch
        n_frames += len(batch)
        if on_frames:
            on_frames(n_frames)


class _MetricRun:
    """Measurement of one clip by one metric; ends with the first exception."""

    def __init__(self, metric: Metric, clip: Clip, explain: Explain) -> None:
        self.metric, self._explain = metric, explain
        self.measurement: Measurement | None = None
        self._reason: NotMeasured | None = None
        try:
            self.measurement = metric.start(clip)
        except Exception as error:  # reported as the reason
            self._fail(error)

    def update(self, batch: np.ndarray) -> None:
        if self.measurement is None:
            return
        try:
            self.measurement.update(batch)
        except Exception as error:  # reported as the reason
            self._fail(error)

    def finish(self) -> tuple[Values, Mapping[str, np.ndarray]]:
        values: Values = {}
        features: Mapping[str, np.ndarray] = {}
        if self.measurement is not None:
            try:
                values = self.measurement.finish()
                features = {name: np.asarray(array, np.float32) for name, array in self.measurement.features().items()}
            except Exception as error:  # reported as the reason
                self._fail(error)
        if self._reason:
            return self.metric.all_missing(self._reason.code, self._reason.sentence), {}
        return {column.name: _check_value(values.get(column.name)) for column in self.metric.columns}, features

    def _fail(self, error: Exception) -> None:
        self._reason, self.measurement = self._explain(error), None


def _check_value(value: float | NotMeasured | None) -> float | NotMeasured:
    if value is None:
        return NotMeasured("metric_failed", "the metric gave no value; expected a number or a reason")
    if not isinstance(value, NotMeasured) and not math.isfinite(value):
        return NotMeasured("not_finite", f"the metric gave {value}; expected a finite number")
    return value
