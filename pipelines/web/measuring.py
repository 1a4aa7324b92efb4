"""Numbers of one video that was just made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from joyvasa.animator import Animation
from joyvasa.bundles import open_bundle
from joyvasa.media.video_reader import VideoInfo, stream_video
from joyvasa.metrics import BUNDLE, NAMES, build, unavailable
from joyvasa.metrics.base import Clip, Column, Metric, MetricModels
from joyvasa.metrics.measure import explained, measure
from joyvasa.metrics.support.reference_frame import face_box, still_frame
from joyvasa.models import Models
from joyvasa.runtime.device import choose_device


@dataclass(frozen=True)
class Measured:
    """One number, or why there is none.

    Attributes:
        column: what was measured.
        value: of this video.
        reason: for no value, one sentence.
    """

    column: Column
    value: float | None
    reason: str = ""


class Measuring:
    """All metrics whose weights are there and may be used; loaded once.

    Args:
        device: that their networks work on.
        licences: as for an animation.
        models: bundle with their weights.
    """

    def __init__(self, *, device: str, licences: str = "any", models: str = BUNDLE) -> None:
        bundle, commercial = open_bundle(models), licences == "commercial"
        self._metrics: list[Metric] = []
        self._missing: list[Measured] = []
        for metric in map(build, NAMES):
            if not metric.columns:  # of whole sets
                continue
            reason = unavailable(metric, bundle, commercial=commercial)
            if reason is None and metric.roles:
                try:
                    metric.setup(MetricModels(bundle=bundle, device=choose_device(device)))
                except Exception as error:  # what one metric lacks is no reason to lose the others
                    reason = explained(error)
            if reason is None:
                self._metrics.append(metric)
            else:
                self._missing += [Measured(column, None, reason.sentence) for column in metric.columns]

    def measure(
        self, animation: Animation, sound: Path, models: Models, on_frames: Callable[[int], object]
    ) -> list[Measured]:
        """Numbers of a video, then those that cannot be had here.

        Args:
            animation: what was made.
            sound: that it was made with.
            models: that made it.
            on_frames: called with the number of frames seen so far; what it raises ends the measurement.
        """
        picture = animation.picture
        width, height = animation.width, animation.height
        clip = Clip(
            video=animation.path,
            frames_per_second=animation.frames_per_second,
            width=width,
            height=height,
            has_sound=True,
            sound=sound,
            still=still_frame(picture, models.composer(picture), models.bundle.switches.output_size),
            face_box=face_box(picture.crop, width=width, height=height, pasted=models.config.paste_back),
            motion=animation.motion,
            absolute_expression=models.bundle.switches.absolute_expression,
            mode=models.config.mode,
            seed=animation.seed,
        )
        rate = Fraction(animation.frames_per_second).limit_denominator(100_000)
        frames = _counted(stream_video(animation.path, info=VideoInfo(width, height, rate, True)), on_frames)
        scores = measure(clip, self._metrics, frames, explain=explained)
        columns = [column for metric in self._metrics for column in metric.columns]
        reasons = {name: reason.sentence for name, reason in scores.reasons.items()}
        found = [Measured(column, scores.values[column.name], reasons.get(column.name, "")) for column in columns]
        return [*found, *self._missing]


def _counted(batches: Iterator[np.ndarray], on_frames: Callable[[int], object]) -> Iterator[np.ndarray]:
    n_frames = 0
    for batch in batches:
        yield batch
        n_frames += len(batch)
        on_frames(n_frames)
