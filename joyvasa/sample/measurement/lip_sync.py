"""Whether the mouth follows the sound, in real human speech."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from joyvasa.metrics.support.sound import read_sound
from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.signals import correlation_near_zero
from joyvasa.sample.measurement.table import Bar, Row, mean_row

OWN, OTHER = Bar("at least", 0.5), Bar("at most", 0.2)


def lip_sync_rows(films: Sequence[Film]) -> list[Row]:
    """Return means over films; a mouth that never moves counts as 0."""

    @cache
    def level(sound: Path) -> np.ndarray:
        return read_sound(sound).level

    def correlation(film: Film, sound: Path) -> float:
        return float(np.nan_to_num(correlation_near_zero(film.reading.mouth, level(sound))))

    sounds = sorted({film.sound for film in films})
    own = {film.path.stem: correlation(film, film.sound) for film in films}
    other = {
        f"{film.path.stem} with {sound.stem}": correlation(film, sound)
        for film in films
        for sound in sounds
        if sound != film.sound
    }
    what = "Opening of the mouth against the level of the sound, human speech, best within two frames of lag 0"
    return [
        mean_row("lip_sync", what, own, "", OWN, inputs="videos", worst=min),
        mean_row(
            "lip_sync_other_sound",
            "the same mouth against the sound of other recordings",
            other,
            "",
            OTHER,
            inputs="pairs",
            worst=max,
        ),
    ]
