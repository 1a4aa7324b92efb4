"""Whether eyes blink, and shut when they do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.training.sample.quality.films import Film
from joyvasa.training.sample.quality.signals import CLOSED_LIDS, RATE, count_blinks
from joyvasa.training.sample.quality.subjects import FACE, Subject
from joyvasa.training.sample.quality.table import Bar, Row
from joyvasa.training.sample.quality.watcher import Watcher

BLINK_ROWS = {
    "blinks": f"Blinks in six seconds in which the lids come below {CLOSED_LIDS:g} of the portrait's open eye",
    "lids_at_least": "Least opening of the lids in a video, of the portrait's open eye; the median of the videos",
}
ENOUGH, PER_S = Bar("at least", 1.0), 6.0


def blink_rows(films: Sequence[Film], watcher: Watcher) -> list[Row]:
    """Over all films together.

    Args:
        films: with readings.
        watcher: the teacher, that reads the portraits' open eyes.
    """
    count, n_frames = 0, 0
    least: dict[str, float] = {}
    for film in films:
        open_eye = open_lids(film.subject, watcher)
        if film.reading is None or open_eye is None or not np.isfinite(film.reading.lids).any():
            continue
        lids = film.reading.lids / open_eye
        count += count_blinks(lids)
        n_frames += len(lids)
        least[film.path.stem] = float(np.nanmin(lids))
    if not least:
        return [Row(name, what, missing="videos in which the teacher sees a face") for name, what in BLINK_ROWS.items()]
    worst = max(least, key=lambda name: least[name])
    inputs = f"{len(least)} videos, {n_frames / RATE:.0f} s"
    blinks, lids = BLINK_ROWS.items()
    note = f"from {min(least.values()):.2f} to {least[worst]:.2f} ({worst}); shut eyes of real videos: 0.14 to 0.28"
    return [
        Row(*blinks, count * PER_S * RATE / n_frames, "", ENOUGH, inputs, f"{count} blinks"),
        Row(*lids, float(np.median(list(least.values()))), "", None, inputs, note),
    ]


def open_lids(subject: Subject, watcher: Watcher) -> float | None:
    """How far open the eyes of a portrait are, height over width; None where the teacher sees no face."""
    image = subject.crop.image
    points = watcher.find(image, FACE * len(image))
    return None if points is None else watcher.lids(image, points)
