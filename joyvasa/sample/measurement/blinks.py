"""Whether eyes blink, and shut when they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.signals import CLOSED_LIDS, RATE, count_blinks
from joyvasa.sample.measurement.subjects import FACE, Subject
from joyvasa.sample.measurement.table import Bar, Row
from joyvasa.sample.measurement.watcher import Watcher
from joyvasa.sample.training.head import Expression
from joyvasa.sample.training.pictures import SIZE
from joyvasa.sample.training.scenes import render

LEFT = 0.25  # of the way from shut to open lids, at most, in a blink
TELLING = 0.6  # of the open eye, at most, that shut eyes of a portrait must read to be told from lowered ones
ENOUGH, PER_S = Bar("at least", 1.0), 6.0


@dataclass(frozen=True)
class Lids:
    """What the teacher reads in a portrait, height over width of an eye.

    Args:
        open: in the portrait itself.
        shut: in the portrait with its eyes shut as the renderer's lessons show it.
    """

    open: float
    shut: float

    @property
    def told_apart(self) -> bool:
        """Whether shut eyes are read as such; in drawings and in the shade they are not."""
        return self.shut <= TELLING * self.open


def blink_rows(films: Sequence[Film], watcher: Watcher) -> list[Row]:
    """Over all films together.

    Args:
        films: with readings.
        watcher: the teacher, that reads the portraits' open and shut eyes.
    """
    count, n_frames, n_told, below, n_seen = 0, 0, 0, 0, 0
    least: dict[str, float] = {}
    for film in films:
        lids, read = lids_of(film.subject, watcher), film.reading.lids
        if lids is None or not np.isfinite(read).any():
            continue
        least[film.path.stem] = float(np.nanmin(read) / lids.open)
        below += count_blinks(read / lids.open)
        n_seen += len(read)
        if lids.told_apart:
            count += count_blinks((read - lids.shut) / (lids.open - lids.shut), shut=LEFT)
            n_frames += len(read)
            n_told += 1
    deep = f"Blinks in six seconds that go {1 - LEFT:.0%} of the way to shut eyes of the same portrait"
    lower = f"the same in which the lids come below {CLOSED_LIDS:g} of the open eye"
    lowest = "Least opening of the lids in a video, of the portrait's open eye; the median of the videos"
    inputs = f"{len(least)} videos, {n_seen / RATE:.0f} s"
    told = f"{n_told} videos, {n_frames / RATE:.0f} s, in which shut eyes are told from open ones"
    return [
        Row("blinks", deep, _in_six_seconds(count, n_frames), "", ENOUGH, told, f"{count} blinks"),
        Row("blinks_below", lower, _in_six_seconds(below, n_seen), "", None, inputs, f"{below} blinks"),
        Row("lids_at_least", lowest, float(np.median([*least.values()] or [np.nan])), "", None, inputs),
    ]


def _in_six_seconds(count: int, n_frames: int) -> float:
    return count * PER_S * RATE / n_frames if n_frames else float("nan")


def lids_of(subject: Subject, watcher: Watcher) -> Lids | None:
    """How a portrait's open and shut eyes are read; None where the teacher sees no face in one of both."""
    found = watcher.find(subject.face, FACE * SIZE)
    if found is None:
        return None
    head = watcher.head(found, SIZE)
    expression = Expression(jaw=max(0.0, head.gap), blink=(1.0, 1.0))
    person = (255 * watcher.person(subject.face)).astype(np.uint8)
    picture = render(subject.face, head, expression, head.pose, person=person).picture.astype(np.uint8)
    again = watcher.find(picture, FACE * SIZE)
    return None if again is None else Lids(watcher.lids(subject.face, found), watcher.lids(picture, again))
