"""Whether lips close where they must, open where they should and rest in silence: on speech with known times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.signals import RATE, closed_level, closed_share, mean_during, opened_share
from joyvasa.sample.measurement.table import Bar, Row
from joyvasa.sample.measurement.utterances import OPEN_VOWELS, Spoken

ARTICULATION_ROWS = {
    "bilabials_closed": "Sounds /m b p/ of synthetic speech in which the lips meet within two frames",
    "open_vowels": "Opening of the mouth in open vowels",
    "silence": "Opening of the mouth in silence",
}
ENOUGH = Bar("at least", 80.0)
UNIT = "distances between the eyes"
COLOURS = {"bilabial": "tab:red", "silence": "0.85", **dict.fromkeys(OPEN_VOWELS, "tab:green")}
MARKS = {"bilabial": "mbp", "silence": "", **{shape: shape for shape in OPEN_VOWELS}}


def articulation_rows(films: Sequence[tuple[Spoken, Film]]) -> list[Row]:
    """Over all sounds of all films with readings."""
    closed, opened, vowels, silence, n_bilabials = [], [], [], [], 0
    for said, film in films:
        assert film.reading is not None
        mouth, bilabials = film.reading.mouth, said.spans("bilabial")
        n_bilabials += len(bilabials)
        closed.append((closed_share(mouth, bilabials), len(bilabials)))
        voiced = [(sound.start_s, sound.end_s) for sound in said.sounds if sound.shape in OPEN_VOWELS]
        opened.append((opened_share(mouth, voiced), len(voiced)))
        vowels.append(mean_during(mouth, voiced))
        silence.append(mean_during(mouth, said.spans("silence")))
    each = ", ".join(f"{said.name} {100 * share:.0f} %" for (said, _), (share, _) in zip(films, closed, strict=True))
    note = f"{each}; lips that never part would do it, too: these part in {100 * _mean(opened):.0f} % of open vowels"
    bilabial, vowel, still = ARTICULATION_ROWS.items()
    inputs = f"{len(films)} videos"
    return [
        Row(*bilabial, 100 * _mean(closed), "%", ENOUGH, f"{inputs}, {n_bilabials} sounds", note),
        Row(*vowel, float(np.mean(vowels)), UNIT, None, inputs, "middle half of each vowel"),
        Row(*still, float(np.mean(silence)), UNIT, None, inputs, "middle half of each silence"),
    ]


def _mean(shares: Sequence[tuple[float, int]]) -> float:
    values, weights = zip(*shares, strict=True)
    return float(np.average(values, weights=weights))


def plot_articulation(films: Sequence[tuple[Spoken, Film]], path: Path) -> None:
    """Draws the opening over time with the sounds marked.

    Args:
        films: with readings.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(22, 3.4 * len(films)), layout="constrained")
    for axes, (said, film) in zip(figure.subplots(len(films), squeeze=False)[:, 0], films, strict=True):
        assert film.reading is not None
        mouth = film.reading.mouth
        top = max(0.3, float(np.nanmax(mouth)) * 1.1)
        for sound in said.sounds:
            if sound.shape in COLOURS:
                axes.axvspan(sound.start_s, sound.end_s, color=COLOURS[sound.shape], alpha=0.35, linewidth=0)
                middle = (sound.start_s + sound.end_s) / 2
                axes.text(middle, top * 0.93, MARKS[sound.shape], ha="center", fontsize=7)
        axes.plot((np.arange(len(mouth)) + 0.5) / RATE, mouth, color="black", linewidth=1.2)
        axes.axhline(closed_level(mouth), color="tab:red", linewidth=0.7, linestyle="--")
        axes.set(xlim=(0, len(mouth) / RATE), ylim=(-0.02, top), ylabel="opening of the mouth")
        axes.set_title(f"{film.path.stem}: red /m b p/, green open vowels, grey silence; dashed: lips meet", fontsize=9)
    axes.set_xlabel("seconds")
    figure.savefig(path, dpi=80)
