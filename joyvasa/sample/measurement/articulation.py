"""Lips and sound.

On synthetic speech, whose phoneme times are known: closure in bilabials, opening in vowels, rest in silence. On human
speech: the correlation of the mouth with the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.metrics.support.sound import read_soundtrack
from joyvasa.sample.measurement.signals import closed_share, correlation_near_zero, mean_during, opened_share
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.videos import MeasuredVideo
from joyvasa.sample.training.visemes import TimedViseme
from joyvasa.sample.training.voices import Espeak, Flite

SENTENCES = (  # with many /m b p/ and open vowels
    "Mama and Papa bought a lamp, a pump and a map.",
    "Bob, my pal, popped by the palm to pop a bomb of apple jam.",
    "A mob of calm black lambs made an amber path past the barn.",
)
SILENCE_S = 1.0
PEAK = 0.6  # amplitude of the samples
OPEN_VOWELS = ("a", "ae", "ao")  # mouth shapes, see `visemes.yaml`
MIN_CLOSED = Bar("at least", 80.0)
UNIT = "distances between the eyes"
MATCHING, OTHER = Bar("at least", 0.5), Bar("at most", 0.2)


@dataclass(frozen=True)
class SyntheticSpeech:
    """The sentences by one synthesizer, separated by silence."""

    name: str  # name of the synthesizer
    samples: np.ndarray  # float32 (n,), 16 kHz
    sounds: tuple[TimedViseme, ...]  # speech sounds, including silence

    def spans(self, *shapes: str) -> list[tuple[float, float]]:
        """Return start and end in seconds of the sounds with the given shapes."""
        return [(sound.start_s, sound.end_s) for sound in self.sounds if sound.shape in shapes]


def synthesize_sentences() -> list[SyntheticSpeech]:
    """Return the sentences by each synthesizer.

    Raises:
        EnvironmentFault: `program_missing`.
    """
    return [_synthesize(name, voice) for name, voice in (("flite", Flite()), ("espeak-ng", Espeak()))]


def _synthesize(name: str, voice: Flite | Espeak) -> SyntheticSpeech:
    r = np.random.default_rng(0)
    pause = np.zeros(int(SILENCE_S * SAMPLE_RATE), np.float32)
    blocks, sounds, at_s = [pause], [TimedViseme("silence", 0.0, SILENCE_S)], SILENCE_S
    for sentence in SENTENCES:
        speech = voice.synthesize(sentence, r)
        samples = soxr.resample(speech.samples, speech.rate, SAMPLE_RATE).astype(np.float32)
        samples *= PEAK / (np.abs(samples).max() + 1e-6)
        sounds += [TimedViseme(sound.shape, at_s + sound.start_s, at_s + sound.end_s) for sound in speech.sounds]
        at_s += len(samples) / SAMPLE_RATE
        sounds.append(TimedViseme("silence", at_s, at_s + SILENCE_S))
        at_s += SILENCE_S
        blocks += [samples, pause]
    return SyntheticSpeech(name, np.concatenate(blocks), tuple(sounds))


def articulation_rows(videos: Sequence[tuple[SyntheticSpeech, MeasuredVideo]]) -> list[Row]:
    """Return the figures over all speech sounds of all videos."""
    closed, opened, in_vowels, in_silence, n_bilabials, n_vowels = [], [], [], [], [], []
    for speech, video in videos:
        mouth, bilabials, vowels = video.reading.mouth, speech.spans("bilabial"), speech.spans(*OPEN_VOWELS)
        n_bilabials.append(len(bilabials))
        n_vowels.append(len(vowels))
        closed.append(100 * closed_share(mouth, bilabials))
        opened.append(100 * opened_share(mouth, vowels))
        in_vowels.append(mean_during(mouth, vowels))
        in_silence.append(mean_during(mouth, speech.spans("silence")))

    shares = ", ".join(f"{speech.name} {share:.0f} %" for (speech, _), share in zip(videos, closed, strict=True))
    parted = float(np.average(opened, weights=n_vowels))
    note = f"{shares}; for comparison, lips part in {parted:.0f} % of open vowels"
    inputs = f"{len(videos)} videos"
    return [
        Row(
            "bilabials_closed",
            "Sounds /m b p/ of synthetic speech in which the lips meet within two frames",
            float(np.average(closed, weights=n_bilabials)),
            "%",
            MIN_CLOSED,
            f"{inputs}, {sum(n_bilabials)} sounds",
            note,
        ),
        Row("open_vowels", "Opening of the mouth in open vowels", float(np.mean(in_vowels)), UNIT, None, inputs),
        Row("silence", "Opening of the mouth in silence", float(np.mean(in_silence)), UNIT, None, inputs),
    ]


def lip_sync_rows(videos: Sequence[MeasuredVideo]) -> list[Row]:
    """Return means over videos; a mouth that never moves counts as 0."""

    @cache
    def level(sound: Path) -> np.ndarray:
        return read_soundtrack(sound).level

    def correlation(video: MeasuredVideo, sound: Path) -> float:
        return float(np.nan_to_num(correlation_near_zero(video.reading.mouth, level(sound))))

    sounds = sorted({video.sound for video in videos})
    matching = {video.path.stem: correlation(video, video.sound) for video in videos}
    other = {
        f"{video.path.stem} with {sound.stem}": correlation(video, sound)
        for video in videos
        for sound in sounds
        if sound != video.sound
    }

    description = "Opening of the mouth against the level of the sound, human speech, best within two frames of lag 0"
    return [
        mean_row("lip_sync", description, matching, "", MATCHING, inputs="videos", worst=min),
        mean_row(
            "lip_sync_other_sound",
            "The same mouth against the sound of other recordings",
            other,
            "",
            OTHER,
            inputs="pairs",
            worst=max,
        ),
    ]
