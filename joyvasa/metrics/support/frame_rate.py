"""Conversion of video frames to 25 per second, in sync with the sound."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

FRAME_RATE = 25  # frames per second of the SyncNet protocol


class FrameRateConverter:
    """Selects the frame nearest to every 40 milliseconds, so that lips are neither early nor late on average.

    The conversion of ffmpeg (`-r 25`) is up to two frames late when it drops frames, which would distort the result.
    """

    def __init__(self, frames_per_second: float) -> None:
        self._step = frames_per_second / FRAME_RATE
        self._n_seen = self._n_converted = 0

    def convert(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Convert the next frames.

        Args:
            frames: consecutive frames, shape (n, ...), n at least 1.

        Yields:
            Frames at 25 per second, dropped or repeated as needed; at most n at once.
        """
        first, self._n_seen = self._n_seen, self._n_seen + len(frames)
        chosen: list[int] = []
        while (index := math.floor(self._n_converted * self._step + 0.5)) < self._n_seen:
            chosen.append(index - first)
            self._n_converted += 1
            if len(chosen) == len(frames):
                yield frames[chosen]
                chosen = []
        if chosen:
            yield frames[chosen]
