"""Number and depth of blinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joyvasa.sample.measurement.face_reader import FaceReader
from joyvasa.sample.measurement.signals import CLOSED_LIDS, RATE, count_blinks
from joyvasa.sample.measurement.subjects import FACE, Subject
from joyvasa.sample.measurement.table import Bar, Row
from joyvasa.sample.measurement.videos import MeasuredVideo
from joyvasa.sample.training.head import Expression
from joyvasa.sample.training.scene_rendering import render_scene
from joyvasa.sample.training.training_media import SIZE

MAX_LEFT = 0.25  # maximum opening in a blink, as a share of the range from shut to open
DISTINCT = 0.6  # maximum reading of shut eyes, as a share of open eyes, for which the two can be distinguished
MIN_BLINKS, INTERVAL_S = Bar("at least", 1.0), 6.0


@dataclass(frozen=True)
class EyeOpenings:
    """Readings of a portrait by the teacher, height over width of an eye."""

    open: float  # reading of the portrait itself
    shut: float  # reading of the portrait with shut eyes, as rendered for training

    @property
    def distinct(self) -> bool:
        """True if shut eyes can be distinguished from open ones; in drawings and shadow they cannot."""
        return self.shut <= DISTINCT * self.open


def blink_rows(videos: Sequence[MeasuredVideo], reader: FaceReader) -> list[Row]:
    """Return the figures over all videos together."""
    deep_count, deep_frames, deep_videos, low_count, n_frames = 0, 0, 0, 0, 0
    lowest: dict[str, float] = {}
    for video in videos:
        openings, lids = read_eye_openings(video.subject, reader), video.reading.lids
        if openings is None or not np.isfinite(lids).any():
            continue
        lowest[video.path.stem] = float(np.nanmin(lids) / openings.open)
        low_count += count_blinks(lids / openings.open)
        n_frames += len(lids)
        if openings.distinct:
            deep_count += count_blinks((lids - openings.shut) / (openings.open - openings.shut), shut=MAX_LEFT)
            deep_frames += len(lids)
            deep_videos += 1

    deep = f"Blinks in six seconds that go {1 - MAX_LEFT:.0%} of the way to shut eyes of the same portrait"
    low = f"Blinks in six seconds in which the lids come below {CLOSED_LIDS:g} of the open eye"
    least = "Smallest opening of the lids in a video, relative to the portrait's open eye; median of the videos"
    inputs = f"{len(lowest)} videos, {n_frames / RATE:.0f} s"
    distinct = f"{deep_videos} videos, {deep_frames / RATE:.0f} s, in which shut eyes read differently from open ones"
    return [
        Row("blinks", deep, _per_interval(deep_count, deep_frames), "", MIN_BLINKS, distinct, f"{deep_count} blinks"),
        Row("blinks_below", low, _per_interval(low_count, n_frames), "", None, inputs, f"{low_count} blinks"),
        Row("lids_at_least", least, float(np.median([*lowest.values()] or [np.nan])), "", None, inputs),
    ]


def _per_interval(count: int, n_frames: int) -> float:
    return count * INTERVAL_S * RATE / n_frames if n_frames else float("nan")


def read_eye_openings(subject: Subject, reader: FaceReader) -> EyeOpenings | None:
    """Read a portrait's open eyes and its rendered shut eyes; None if the teacher does not find both faces."""
    points = reader.mesh.detect(subject.face, FACE * SIZE)
    if points is None:
        return None
    head = reader.build_head(points, SIZE)
    expression = Expression(jaw=max(0.0, head.gap), blink=(1.0, 1.0))
    person = (255 * reader.persons.segment(subject.face)).astype(np.uint8)
    shut = render_scene(subject.face, head, expression, head.pose, person=person).picture.astype(np.uint8)
    shut_points = reader.mesh.detect(shut, FACE * SIZE)
    if shut_points is None:
        return None
    return EyeOpenings(reader.read_eye_opening(subject.face, points), reader.read_eye_opening(shut, shut_points))
