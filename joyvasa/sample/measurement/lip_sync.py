"""Whether the mouth follows the sound, in real human speech."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from joyvasa.metrics.support.sound import read_sound
from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.signals import correlation_near_zero
from joyvasa.sample.measurement.table import Bar, Row

LIP_SYNC_ROWS = {
    "lip_sync": "Opening of the mouth against the level of the sound, human speech, best within two frames of lag 0",
    "lip_sync_other_sound": "the same mouth against the sound of other recordings",
}
OWN, OTHER = Bar("at least", 0.5), Bar("at most", 0.2)


def lip_sync_rows(films: Sequence[Film]) -> list[Row]:
    """Means over films; a mouth that never moves counts as 0.

    Args:
        films: with readings.
    """
    level = cache(lambda path: read_sound(path).level)
    own: dict[str, float] = {}
    other: list[float] = []
    for film in films:
        assert film.reading is not None
        mouth = film.reading.mouth
        own[film.path.stem] = _correlation(mouth, level(film.sound))
        others: set[Path] = {one.sound for one in films} - {film.sound}
        other += [_correlation(mouth, level(sound)) for sound in sorted(others)]
    worst = min(own, key=lambda name: own[name])
    note = f"median {np.median(list(own.values())):.2f}; worst {worst}: {own[worst]:.2f}"
    own_row, other_row = LIP_SYNC_ROWS.items()
    rows = [Row(*own_row, float(np.mean(list(own.values()))), "", OWN, f"{len(own)} videos", note)]
    if not other:
        return [*rows, Row(*other_row, missing="a second recording")]
    return [*rows, Row(*other_row, float(np.mean(other)), "", OTHER, f"{len(other)} pairs", f"up to {max(other):.2f}")]


def _correlation(mouth: np.ndarray, level: np.ndarray) -> float:
    return float(np.nan_to_num(correlation_near_zero(mouth, level)))
