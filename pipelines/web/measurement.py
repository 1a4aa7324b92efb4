"""Metrics of one finished video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from joyvasa.animator import Animation
from joyvasa.media.video_reader import probe_video
from joyvasa.metrics.base import MetricColumn
from joyvasa.metrics.metric_set import MetricSet
from joyvasa.metrics.support.reference_frame import build_clip
from joyvasa.models import Models
from pipelines.web.columns import get_rank


@dataclass(frozen=True)
class MetricResult:
    """Value of one metric column, or the reason why it is missing."""

    column: MetricColumn  # metric column
    value: float | None  # value for this video; None if it is missing
    reason: str = ""  # sentence, if the value is missing


def measure_animation(
    metrics: MetricSet, animation: Animation, sound: Path | None, models: Models, on_frames: Callable[[int], object]
) -> list[MetricResult]:
    """Compute the metrics of a video, in the order in which the page shows them.

    Args:
        metrics: metrics to compute.
        animation: finished animation.
        sound: recording of the animation; None if a motion drives it.
        models: models of the animation.
        on_frames: called with the number of frames read so far; an exception stops the measurement.
    """
    clip = build_clip(
        animation.picture,
        models.build_composer(animation.picture),
        models.bundle.switches,
        pasted=models.config.paste_back,
        video=animation.path,
        frames_per_second=animation.frames_per_second,
        width=animation.width,
        height=animation.height,
        has_sound=sound is not None or probe_video(animation.path).has_sound,
        sound=sound,
        motion=animation.motion,
        mode=models.config.mode,
        seed=animation.seed,
    )
    scores = metrics.measure(clip, on_frames=on_frames)
    reasons = {name: reason.sentence for name, reason in scores.reasons.items()}
    columns = sorted(metrics.columns, key=lambda column: get_rank(column.name))
    return [MetricResult(column, scores.values[column.name], reasons.get(column.name, "")) for column in columns]
