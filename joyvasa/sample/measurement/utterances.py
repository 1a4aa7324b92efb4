"""Recordings whose sounds and their times are known: a synthesizer says sentences, with silence around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from joyvasa.media.audio import SAMPLE_RATE
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


@dataclass(frozen=True)
class Spoken:
    """A recording.

    Args:
        name: of the synthesizer.
        samples: float32 (n,), 16 kHz.
        sounds: in it, the silence around the sentences included.
    """

    name: str
    samples: np.ndarray
    sounds: tuple[Sound, ...]

    def spans(self, *shapes: str) -> list[tuple[float, float]]:
        """From when to when sounds of these shapes last, seconds."""
        return [(sound.start_s, sound.end_s) for sound in self.sounds if sound.shape in shapes]


def spoken() -> list[Spoken]:
    """The sentences, said by each synthesizer.

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
