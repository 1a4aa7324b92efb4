"""Frames of a video of any rate at 25 a second, in step with its sound."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

FRAME_RATE = 25  # of the SyncNet protocol, 1/s


class FrameRateConverter:
    """Takes the frame nearest to every 40 milliseconds, so that lips are neither early nor late on average.

    ffmpeg's own conversion (`-r 25`) is up to two frames late where it leaves frames out: as much as is measured here.

    Args:
        frames_per_second: of the video.
    """

    def __init__(self, frames_per_second: float) -> None:
        self._step = frames_per_second / FRAME_RATE
        self._n_seen = self._n_given = 0

    def convert(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Goes on with the next frames.

        Args:
            frames: in their order, shape (n, ...), n at least 1.

        Yields:
            Those to use, left out or repeated as needed; never more than n at once.
        """
        first, self._n_seen = self._n_seen, self._n_seen + len(frames)
        chosen: list[int] = []
        while (index := math.floor(self._n_given * self._step + 0.5)) < self._n_seen:
            chosen.append(index - first)
            self._n_given += 1
            if len(chosen) == len(frames):
                yield frames[chosen]
                chosen = []
        if chosen:
            yield frames[chosen]
