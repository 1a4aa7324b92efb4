"""Whether lips close where they must, open where they should and rest in silence: on speech with known times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.signals import closed_share, mean_during, opened_share
from joyvasa.sample.measurement.table import Bar, Row
from joyvasa.sample.training.visemes import Sound
from joyvasa.sample.training.voices import Espeak, Flite

SENTENCES = (  # full of /m b p/ and of open vowels
    "Mama and Papa bought a lamp, a pump and a map.",
    "Bob, my pal, popped by the palm to pop a bomb of apple jam.",
    "A mob of calm black lambs made an amber path past the barn.",
)
SILENCE_S = 1.0
PEAK = 0.6  # of the samples
OPEN_VOWELS = ("a", "ae", "ao")  # mouth shapes; see `visemes.yaml`
ENOUGH = Bar("at least", 80.0)
UNIT = "distances between the eyes"


@dataclass(frozen=True)
class Spoken:
    """A recording of the sentences, with silence around them.

    Args:
        name: name of the synthesizer.
        samples: float32 (n,), 16 kHz.
        sounds: its sounds, silence included.
    """

    name: str
    samples: np.ndarray
    sounds: tuple[Sound, ...]

    def spans(self, *shapes: str) -> list[tuple[float, float]]:
        """Return start and end of the sounds of these shapes, seconds."""
        return [(sound.start_s, sound.end_s) for sound in self.sounds if sound.shape in shapes]


def spoken() -> list[Spoken]:
    """Return the sentences, said by each synthesizer.

    Raises:
        EnvironmentFault: `program_missing`.
    """
    return [_say(name, voice) for name, voice in (("flite", Flite()), ("espeak-ng", Espeak()))]


def _say(name: str, voice: Flite | Espeak) -> Spoken:
    r = np.random.default_rng(0)
    pause = np.zeros(int(SILENCE_S * SAMPLE_RATE), np.float32)
    blocks, sounds, at_s = [pause], [Sound("silence", 0.0, SILENCE_S)], SILENCE_S
    for sentence in SENTENCES:
        said = voice.say(sentence, r)
        samples = soxr.resample(said.samples, said.rate, SAMPLE_RATE).astype(np.float32)
        samples *= PEAK / (np.abs(samples).max() + 1e-6)
        sounds += [Sound(sound.shape, at_s + sound.start_s, at_s + sound.end_s) for sound in said.sounds]
        at_s += len(samples) / SAMPLE_RATE
        sounds.append(Sound("silence", at_s, at_s + SILENCE_S))
        at_s += SILENCE_S
        blocks += [samples, pause]
    return Spoken(name, np.concatenate(blocks), tuple(sounds))


def articulation_rows(films: Sequence[tuple[Spoken, Film]]) -> list[Row]:
    """Return the figures over all sounds of all films."""
    closed, opened, vowels, silence, n_bilabials, n_vowels = [], [], [], [], [], []
    for said, film in films:
        mouth, bilabials, voiced = film.reading.mouth, said.spans("bilabial"), said.spans(*OPEN_VOWELS)
        n_bilabials.append(len(bilabials))
        n_vowels.append(len(voiced))
        closed.append(100 * closed_share(mouth, bilabials))
        opened.append(100 * opened_share(mouth, voiced))
        vowels.append(mean_during(mouth, voiced))
        silence.append(mean_during(mouth, said.spans("silence")))
    each = ", ".join(f"{said.name} {share:.0f} %" for (said, _), share in zip(films, closed, strict=True))
    parted = float(np.average(opened, weights=n_vowels))
    note = f"{each}; lips that never part would do it, too: these part in {parted:.0f} % of open vowels"
    inputs = f"{len(films)} videos"
    return [
        Row(
            "bilabials_closed",
            "Sounds /m b p/ of synthetic speech in which the lips meet within two frames",
            float(np.average(closed, weights=n_bilabials)),
            "%",
            ENOUGH,
            f"{inputs}, {sum(n_bilabials)} sounds",
            note,
        ),
        Row("open_vowels", "Opening of the mouth in open vowels", float(np.mean(vowels)), UNIT, None, inputs),
        Row("silence", "Opening of the mouth in silence", float(np.mean(silence)), UNIT, None, inputs),
    ]
