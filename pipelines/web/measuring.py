"""Numbers of one video that was just made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from joyvasa.animator import Animation
from joyvasa.metrics.base import MetricColumn
from joyvasa.metrics.metric_set import MetricSet
from joyvasa.metrics.support.reference_frame import build_clip
from joyvasa.models import Models


@dataclass(frozen=True)
class Measured:
    """One number, or why there is none.

    Attributes:
        column: what was measured.
        value: of this video.
        reason: for no value, one sentence.
    """

    column: MetricColumn
    value: float | None
    reason: str = ""


def measure_animation(
    metrics: MetricSet, animation: Animation, sound: Path, models: Models, on_frames: Callable[[int], object]
) -> list[Measured]:
    """Measure a video; numbers that cannot be had here come last.

    Args:
        metrics: metrics to measure.
        animation: what was made.
        sound: sound that it was made with.
        models: models that made it.
        on_frames: called with the number of frames seen so far; what it raises ends the measurement.
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
        has_sound=True,
        sound=sound,
        motion=animation.motion,
        mode=models.config.mode,
        seed=animation.seed,
    )
    scores = metrics.measure(clip, on_frames=on_frames)
    reasons = {name: reason.sentence for name, reason in scores.reasons.items()}
    return [Measured(one, scores.values[one.name], reasons.get(one.name, "")) for one in metrics.columns]
