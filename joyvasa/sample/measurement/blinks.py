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
BLINK_ROWS = {
    "blinks": f"Blinks in six seconds that go {1 - LEFT:.0%} of the way to shut eyes of the same portrait",
    "blinks_below": f"the same in which the lids come below {CLOSED_LIDS:g} of the open eye",
    "lids_at_least": "Least opening of the lids in a video, of the portrait's open eye; the median of the videos",
}
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
    count, n_frames, below, n_seen = 0, 0, 0, 0
    least: dict[str, float] = {}
    untold = []
    for film in films:
        lids = lids_of(film.subject, watcher)
        if film.reading is None or lids is None or not np.isfinite(film.reading.lids).any():
            continue
        name, read = film.path.stem, film.reading.lids
        least[name] = float(np.nanmin(read) / lids.open)
        below += count_blinks(read / lids.open)
        n_seen += len(read)
        if not lids.told_apart:
            untold.append(name)
            continue
        count += count_blinks((read - lids.shut) / (lids.open - lids.shut), shut=LEFT)
        n_frames += len(read)
    blinks, lower, lowest = BLINK_ROWS.items()
    if not least:
        return [Row(name, what, missing="videos in which the teacher sees a face") for name, what in BLINK_ROWS.items()]
    worst = max(least, key=lambda name: least[name])
    inputs = f"{len(least)} videos, {n_seen / RATE:.0f} s"
    note = f"from {min(least.values()):.2f} to {least[worst]:.2f} ({worst}); shut eyes of real videos: 0.14 to 0.28"
    rows = [
        Row(*blinks, missing="portraits whose shut eyes the teacher tells from open ones"),
        Row(*lower, below * PER_S * RATE / n_seen, "", None, inputs, f"{below} blinks"),
        Row(*lowest, float(np.median(list(least.values()))), "", None, inputs, note),
    ]
    if n_frames:
        told = f"{len(least) - len(untold)} videos, {n_frames / RATE:.0f} s"
        left_out = f"; shut eyes are not told from open ones in {', '.join(untold)}" if untold else ""
        rows[0] = Row(*blinks, count * PER_S * RATE / n_frames, "", ENOUGH, told, f"{count} blinks{left_out}")
    return rows


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
