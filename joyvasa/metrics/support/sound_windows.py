"""Sound of a video as input of SyncNet: windows of 0.2 seconds in sync with the frames, 13 numbers per 10 ms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import InputError
from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.media.ffmpeg import FfmpegPipe, audio_stream
from joyvasa.media.mel import triangular_filters
from joyvasa.metrics.support.frame_rate import FRAME_RATE
from joyvasa.networks.metrics.syncnet import WINDOW_FRAMES

Samples = NDArray[np.int16]
FloatArray = NDArray[np.float64]

BLOCK_BYTES = 4 * SAMPLE_RATE * 2  # four seconds
# Mel-frequency cepstral coefficients: formulas and defaults of python_speech_features 0.6 at 16 kHz.
WINDOW = 400  # samples per column, 25 ms; rectangular
HOP = 160  # samples between columns, 10 ms
PRE_EMPHASIS = 0.97
SPECTRUM = 512  # length of the Fourier transform
FILTERS = 26
COEFFICIENTS = 13
LIFTER = 22
SMALLEST = float(np.finfo(np.float64).eps)  # replaces zero before the logarithm

FRAME_SAMPLES = SAMPLE_RATE // FRAME_RATE
FRAME_COLUMNS = FRAME_SAMPLES // HOP
WINDOW_COLUMNS = WINDOW_FRAMES * FRAME_COLUMNS


def stream_video_sound(path: Path) -> Iterator[Samples]:
    """Yield the sound of a video from time 0 of the file.

    Sound that starts later than the picture is preceded by silence, so that it stays in sync, unlike in
    `joyvasa.media.audio.stream_audio`.

    Yields:
        Blocks of samples, 16 kHz mono, shape (n,).

    Raises:
        InputError: `audio_unreadable`, decoding failed.
        EnvironmentFault: `ffmpeg_missing`.
    """
    sound = audio_stream(path, "file")
    with FfmpegPipe(sound.output("pipe:", format="s16le", acodec="pcm_s16le", ac=1, ar=SAMPLE_RATE)) as pipe:
        while data := pipe.stdout.read(BLOCK_BYTES):
            yield np.frombuffer(data, "<i2", len(data) // 2).astype(np.int16)
        if message := pipe.failure():
            raise InputError("audio_unreadable", f"{path}: decoding stopped ({message}): export it again")


class SoundWindows:
    """Coefficients of the sound of windows of five frames; holds a few seconds of samples.

    Args:
        sound: blocks of samples, 16 kHz mono, from the first frame of the video.
        first: index of the frame at which window 0 starts; earlier sound is skipped.
    """

    def __init__(self, sound: Iterable[Samples], *, first: int = 0) -> None:
        self._blocks = iter(sound)
        self._samples = np.zeros(0, np.int16)  # start at the next window
        self._previous: int | None = None  # sample before `_samples`
        remaining = first * FRAME_SAMPLES
        while remaining:
            self._read(1)
            dropped = min(remaining, len(self._samples))
            self._samples = self._samples[dropped:]
            remaining = remaining - dropped if dropped else 0

    def next_windows(self, count: int) -> NDArray[np.float32]:
        """Return the coefficients of the next windows, shape (n, 13, 20); none if `count` < 1.

        There are fewer than `count` at the end of the sound. As in syncnet_python, the last complete window is dropped.
        """
        if count <= 0:
            return np.zeros((0, COEFFICIENTS, WINDOW_COLUMNS), np.float32)
        self._read((count + WINDOW_FRAMES) * FRAME_SAMPLES)
        count = max(0, min(count, len(self._samples) // FRAME_SAMPLES - WINDOW_FRAMES))
        if not count:
            return np.zeros((0, COEFFICIENTS, WINDOW_COLUMNS), np.float32)
        columns = (count - 1) * FRAME_COLUMNS + WINDOW_COLUMNS
        coefficients = mfcc(self._samples[: (columns - 1) * HOP + WINDOW], self._previous)
        windows = np.lib.stride_tricks.sliding_window_view(coefficients, WINDOW_COLUMNS, axis=0)[::FRAME_COLUMNS]
        n_used = count * FRAME_SAMPLES
        self._previous, self._samples = int(self._samples[n_used - 1]), self._samples[n_used:]
        return windows.astype(np.float32)

    def _read(self, n_samples: int) -> None:
        """Read until `n_samples` samples are buffered or the sound ends."""
        blocks = [self._samples]
        n_buffered = len(self._samples)
        while n_buffered < n_samples and (block := next(self._blocks, None)) is not None:
            blocks.append(block)
            n_buffered += len(block)
        self._samples = np.concatenate(blocks)


def mfcc(samples: NDArray[np.int16], previous: int | None = None) -> FloatArray:
    """Compute the coefficients of a piece of sound.

    Args:
        samples: 16 kHz mono, 16-bit integers; the result depends on their scale.
        previous: sample before the first, if the piece is part of a longer recording.

    Returns:
        Coefficients, shape (columns, 13); coefficient 0 is the logarithm of the energy. The last window is padded with
        zeros; there is at least one column.
    """
    power = power_spectrum(samples, previous)
    energies = np.log(_positive(power @ mfcc_filters().T))
    coefficients = energies @ _cosines().T * _lifter()
    coefficients[:, 0] = np.log(_positive(power.sum(axis=1)))
    return coefficients


def power_spectrum(samples: NDArray[np.int16], previous: int | None = None) -> FloatArray:
    """Compute the power spectrum of each column after pre-emphasis, shape (columns, 257)."""
    wide = samples.astype(np.float64)
    delayed = np.concatenate([[0.0 if previous is None else previous], wide[:-1]])
    emphasized = wide - PRE_EMPHASIS * delayed
    columns = 1 + max(0, -(-(len(wide) - WINDOW) // HOP))
    padded = np.pad(emphasized, (0, max(0, (columns - 1) * HOP + WINDOW - len(emphasized))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:columns]
    return np.abs(np.fft.rfft(frames, SPECTRUM)) ** 2 / SPECTRUM


@cache
def mfcc_filters() -> FloatArray:
    """Build triangular filters of equal width in mel from 0 to 8 kHz, shape (26, 257)."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, FILTERS + 2) / 2595) - 1)
    edges = np.floor((SPECTRUM + 1) * hertz / SAMPLE_RATE)
    return triangular_filters(edges, np.arange(SPECTRUM // 2 + 1))


@cache
def _cosines() -> FloatArray:
    """Return the first rows of the orthonormal cosine transform (DCT-II), shape (13, 26)."""
    order, index = np.arange(COEFFICIENTS)[:, None], np.arange(FILTERS)
    scale = np.where(order == 0, np.sqrt(1 / FILTERS), np.sqrt(2 / FILTERS))
    return scale * np.cos(np.pi * order * (2 * index + 1) / (2 * FILTERS))


@cache
def _lifter() -> FloatArray:
    return 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)


def _positive(values: FloatArray) -> FloatArray:
    return np.where(values == 0, SMALLEST, values)
