"""The sound of a video as SyncNet hears it: in step with the frames, a fifth of a second at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import InputError
from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.media.ffmpeg import FfmpegPipe, input_stream
from joyvasa.metrics.support.frame_rate import FRAME_RATE
from joyvasa.metrics.support.mfcc import COEFFICIENTS, HOP, WINDOW, mfcc
from joyvasa.networks.metrics.syncnet import WINDOW_FRAMES

FRAME_SAMPLES = SAMPLE_RATE // FRAME_RATE
FRAME_COLUMNS = FRAME_SAMPLES // HOP
WINDOW_COLUMNS = WINDOW_FRAMES * FRAME_COLUMNS
BLOCK_BYTES = 4 * SAMPLE_RATE * 2  # four seconds

Samples = NDArray[np.int16]


def stream_video_sound(path: Path) -> Iterator[Samples]:
    """Yields the sound of a video from time 0 of the file on.

    Sound that begins later than the picture is preceded by silence, so that it stays in step: that is what the video
    shows, and what `joyvasa.media.audio.stream_audio`, which knows nothing of a picture, leaves out.

    Args:
        path: any file with a sound stream that ffmpeg reads.

    Yields:
        16 kHz mono, shape (n,).

    Raises:
        InputError: `audio_unreadable`, decoding stopped.
        EnvironmentFault: `ffmpeg_missing`.
    """
    sound = input_stream(path, "audio").filter("aresample", **{"async": 1, "first_pts": 0})
    with FfmpegPipe(sound.output("pipe:", format="s16le", acodec="pcm_s16le", ac=1, ar=SAMPLE_RATE)) as pipe:
        while data := pipe.stdout.read(BLOCK_BYTES):
            yield np.frombuffer(data, "<i2", len(data) // 2).astype(np.int16)
        if words := pipe.failure():
            raise InputError("audio_unreadable", f"{path}: decoding stopped ({words}): export it again")


class SoundWindows:
    """Coefficients of the sound that belongs to windows of five frames; holds a few seconds of it.

    Args:
        sound: blocks of samples, 16 kHz mono, from the first frame of the video on.
        first: number of the frame that window 0 begins with; the sound before it is not heard.
    """

    def __init__(self, sound: Iterable[Samples], *, first: int = 0) -> None:
        self._blocks = iter(sound)
        self._samples = np.zeros(0, np.int16)  # from the next window on
        self._previous: int | None = None  # the sample before them
        unheard = first * FRAME_SAMPLES
        while unheard:
            self._read(1)
            dropped = min(unheard, len(self._samples))
            self._samples = self._samples[dropped:]
            unheard = unheard - dropped if dropped else 0

    def next_windows(self, count: int) -> NDArray[np.float32]:
        """The next windows.

        As the published program does, the last window that would be whole is left out.

        Args:
            count: how many, at most.

        Returns:
            shape (n, 13, 20); fewer than `count` where the sound ends, none where `count` is not positive.
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
        heard = count * FRAME_SAMPLES
        self._previous, self._samples = int(self._samples[heard - 1]), self._samples[heard:]
        return windows.astype(np.float32)

    def _read(self, n_samples: int) -> None:
        """Reads until so many samples wait, or the sound ends."""
        blocks = [self._samples]
        waiting = len(self._samples)
        while waiting < n_samples and (block := next(self._blocks, None)) is not None:
            blocks.append(block)
            waiting += len(block)
        self._samples = np.concatenate(blocks)
