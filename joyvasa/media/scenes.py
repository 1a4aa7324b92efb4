"""Detection of scene changes and still pictures, from a few numbers per frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.media.image import Image

# A scene change as in PySceneDetect's AdaptiveDetector (Breakthrough/PySceneDetect, default values): the mean change of
# hue, saturation and value is large, and stands out from the two frames before and after.
NEIGHBORS = 2
MIN_RATIO = 3.0
MIN_CHANGE = 15.0  # on a scale of 255

STILL = 4.0  # gray levels; largest change of a cell since the first frame of a frozen period

THUMBNAIL = 128  # side in pixels of the measured picture; averages out noise and compression


class FrameMeter:
    """Measures how much the frames of a video change, one frame after another."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._anchor: NDArray[np.float32] | None = None
        self._still = 0

    def measure(self, frame: Image) -> tuple[float, int]:
        """Compare a frame, uint8 RGB (height, width, 3), with the previous ones.

        Returns:
            Difference to the previous frame, 0 to 255, and the number of frames since something moved.
        """
        small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        colors = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.int16)
        change = 0.0 if self._last is None else float(np.abs(colors - self._last).mean())
        self._last = colors

        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        cells = gray.reshape(THUMBNAIL // 2, 2, THUMBNAIL // 2, 2).mean(axis=(1, 3))
        if self._anchor is not None and np.abs(cells - self._anchor).max() < STILL:
            self._still += 1
        else:
            self._anchor, self._still = cells, 0
        return change, self._still


def find_scene_starts(changes: NDArray[np.floating]) -> list[int]:
    """Return the numbers of the frames that start a new scene.

    Args:
        changes: differences from `FrameMeter`, shape (frames,); the first one is ignored.
    """
    starts = []
    for frame in np.flatnonzero(changes >= MIN_CHANGE):
        neighbors = np.r_[changes[max(1, frame - NEIGHBORS) : frame], changes[frame + 1 : frame + 1 + NEIGHBORS]]
        if frame and changes[frame] >= MIN_RATIO * (neighbors.mean() if len(neighbors) else 0.0):
            starts.append(int(frame))
    return starts


def find_frozen_frames(still: NDArray[np.integer], min_frames: int) -> NDArray[np.bool_]:
    """Return a mask of the frames in sections of at least `min_frames` without motion, shape (frames,).

    `still` are the numbers of still frames from `FrameMeter`, shape (frames,).
    """
    frozen = np.zeros(len(still), bool)
    for frame in np.flatnonzero(still >= min_frames - 1):
        frozen[max(0, frame - int(still[frame])) : frame + 1] = True
    return frozen
