"""Videos that the whole chain makes of held-out portraits and recordings."""

from __future__ import annotations

import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from joyvasa.animator import Animator
from joyvasa.media.audio import SAMPLE_RATE, stream_audio
from joyvasa.sample.measurement.signals import RATE
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.measurement.table import Bar, Row
from joyvasa.sample.measurement.watcher import Reading, Watcher

PORTRAITS, FILMS, DURATION_S = 6, 9, 8.0
FAST_ENOUGH = Bar("at least", 8.0)


@dataclass(frozen=True)
class Film:
    """A video.

    Args:
        path: of it.
        subject: whose face it shows.
        sound: that it speaks, a file.
        reading: what the teacher reads in it.
        frames_per_second: at which it was made; the first of all has no such figure, as networks load then.
        n_frames: of it.
    """

    path: Path
    subject: Subject
    sound: Path
    reading: Reading
    frames_per_second: float | None
    n_frames: int


class Studio:
    """Makes films.

    Args:
        animator: of the bundle.
        watcher: the teacher.
        folder: for the videos.
    """

    def __init__(self, animator: Animator, watcher: Watcher, folder: Path) -> None:
        self._animator, self._watcher, self._folder = animator, watcher, folder
        self._warm = False
        folder.mkdir(parents=True, exist_ok=True)

    def film(self, subject: Subject, sound: Path) -> Film:
        """A portrait says a recording; a film of this name is replaced."""
        path = self._folder / f"{subject.name}-{sound.stem}.mp4"
        started = time.monotonic()
        made = self._animator.animate(subject.path, sound, path)
        speed = made.n_frames / (time.monotonic() - started) if self._warm else None
        self._warm = True
        reading = self._watcher.film(path, subject.box, frames_per_second=RATE)
        return Film(path, subject, sound, reading, speed, made.n_frames)


def pairs(n_portraits: int, n_recordings: int) -> list[tuple[int, int]]:
    """Which portrait says which recording: each portrait once, then some of them the next recording.

    Args:
        n_portraits: that there are; the first `PORTRAITS` are used.
        n_recordings: that there are.
    """
    n_portraits = min(n_portraits, PORTRAITS)
    if not n_portraits or not n_recordings:
        return []
    found = [(n % n_portraits, (n + n // n_portraits) % n_recordings) for n in range(FILMS)]
    return list(dict.fromkeys(found))


def shorten(recording: Path, folder: Path) -> Path:
    """The first seconds of a recording as a file.

    Raises:
        InputError: what `stream_audio` raises.
    """
    wanted = int(DURATION_S * SAMPLE_RATE)
    blocks, n_samples = [], 0
    for block in stream_audio(recording):
        blocks.append(block)
        n_samples += len(block)
        if n_samples >= wanted:
            break
    return write_sound(folder / f"{recording.stem}.wav", np.concatenate(blocks)[:wanted])


def write_sound(path: Path, samples: np.ndarray) -> Path:
    """Writes float32 samples (n,) at 16 kHz as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def speed_row(films: Sequence[Film], load: float) -> Row:
    """Return the median speed of all films but the first, in which networks load.

    Args:
        films: films that were made.
        load: load of the machine before the first one, processes that run or wait.
    """
    name, what = "frames_per_second", "Speed of the whole chain, from the picture's file to the video's"
    speeds = [film.frames_per_second for film in films if film.frames_per_second]
    if not speeds:
        return Row(name, what, missing="two films at least: networks load in the first one")
    note = f"{min(speeds):.1f} to {max(speeds):.1f}; other programs were running: load {load:.1f} before it began"
    inputs = f"{len(speeds)} videos, {torch.get_num_threads()} threads"
    return Row(name, what, float(np.median(speeds)), "frames/s", FAST_ENOUGH, inputs, note)
