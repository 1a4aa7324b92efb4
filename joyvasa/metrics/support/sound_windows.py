"""Sound of a video as input of SyncNet: windows of 0.2 seconds in sync with the frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import InputError
from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.media.ffmpeg import FfmpegPipe, audio_stream
from joyvasa.metrics.support.frame_rate import FRAME_RATE
from joyvasa.metrics.support.mfcc import COEFFICIENTS, HOP, WINDOW, mfcc
from joyvasa.networks.metrics.syncnet import WINDOW_FRAMES

FRAME_SAMPLES = SAMPLE_RATE // FRAME_RATE
FRAME_COLUMNS = FRAME_SAMPLES // HOP
WINDOW_COLUMNS = WINDOW_FRAMES * FRAME_COLUMNS
BLOCK_BYTES = 4 * SAMPLE_RATE * 2  # four seconds

Samples = NDArray[np.int16]


def stream_video_sound(path: Path) -> Iterator[Samples]:
    """Yield the sound of a video from time 0 of the file.

    Sound that starts later than the picture is preceded by silence, so that it stays in sync, unlike in
    `joyvasa.media.audio.stream_audio`.

    Args:
        path: file with a sound stream that ffmpeg can read.

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
        """Return the next windows.

        As in syncnet_python, the last complete window is dropped.

        Args:
            count: maximum number of windows.

        Returns:
            Coefficients, shape (n, 13, 20); fewer than `count` at the end of the sound, none if `count` < 1.
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
