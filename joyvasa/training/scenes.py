"""Where scenes change and where the picture stands still, from numbers of each frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.media.image import Image
from joyvasa.metrics.freeze import STILL

# A change of scene as PySceneDetect's AdaptiveDetector finds it (Breakthrough/PySceneDetect, default values): the mean
# change of hue, saturation and value stands out from the two frames before and after, and is large in itself.
NEIGHBOURS = 2
LEAST_RATIO = 3.0
LEAST_CHANGE = 15.0  # of 255

THUMBNAIL = 128  # pixels a side that changes are measured on; averages away noise and compression


class FrameMeter:
    """Measures the frames of a video, one after the other."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._anchor: NDArray[np.float32] | None = None
        self._still = 0

    def measure(self, frame: Image) -> tuple[float, int]:
        """Takes the next frame.

        Args:
            frame: uint8 RGB (height, width, 3).

        Returns:
            how much it differs from the one before, 0 to 255, and for how many frames before it nothing has moved.
        """
        small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        colours = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.int16)
        change = 0.0 if self._last is None else float(np.abs(colours - self._last).mean())
        self._last = colours
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        cells = grey.reshape(THUMBNAIL // 2, 2, THUMBNAIL // 2, 2).mean(axis=(1, 3))
        if self._anchor is not None and np.abs(cells - self._anchor).max() < STILL:
            self._still += 1
        else:
            self._anchor, self._still = cells, 0
        return change, self._still


def find_scene_starts(changes: NDArray[np.floating]) -> list[int]:
    """Frames with which another scene begins.

    Args:
        changes: of `FrameMeter`, shape (frames,); the first one counts for nothing.
    """
    starts = []
    for frame in np.flatnonzero(changes >= LEAST_CHANGE):
        around = np.r_[changes[max(1, frame - NEIGHBOURS) : frame], changes[frame + 1 : frame + 1 + NEIGHBOURS]]
        if frame and changes[frame] >= LEAST_RATIO * (around.mean() if len(around) else 0.0):
            starts.append(int(frame))
    return starts


def find_frozen_frames(still: NDArray[np.integer], least: int) -> NDArray[np.bool_]:
    """Which frames belong to stretches in which nothing moves.

    Args:
        still: of `FrameMeter`, shape (frames,).
        least: frames of a stretch that counts.
    """
    frozen = np.zeros(len(still), bool)
    for frame in np.flatnonzero(still >= least - 1):
        frozen[max(0, frame - int(still[frame])) : frame + 1] = True
    return frozen
