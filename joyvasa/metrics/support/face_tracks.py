"""Face tracks of a video, and face crops as in SyncNet's training (pipeline of syncnet_python)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from joyvasa.faces.boxes import compute_iou
from joyvasa.media.image import Image

FloatArray: TypeAlias = NDArray[np.floating]

CROP_SIDE = 224  # pixels
CROP_MARGIN = 0.4  # relative to half the box side; added left and right, and twice below
MEDIAN_FRAMES = 13  # length of the median filter over the boxes of a track
PADDING_GRAY = 110  # gray level outside the frame
# Limits of the protocol.
MAX_GAP = 25  # maximum number of frames without a detection of the face
MIN_OVERLAP = 0.5  # minimum intersection over union of consecutive boxes
# A track needs more boxes than this, so clips of 4 seconds or less have no track. Other users of the protocol set 50;
# with less than 7 the median filter returns empty boxes.
MIN_BOXES = 100
MIN_SIDE = 100.0  # the mean width or height of the boxes must exceed this, pixels of the video


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face in consecutive frames."""

    first: int  # index of the first frame
    boxes: FloatArray  # left, top, right, bottom in each frame, pixels, float64 (frames, 4)

    def __len__(self) -> int:
        return len(self.boxes)


def track_faces(detections: Sequence[FloatArray]) -> list[FaceTrack]:
    """Join the boxes of consecutive frames to tracks.

    Args:
        detections: boxes of each frame, shape (faces, 4 or more), best first.

    Returns:
        Tracks of sufficient size and length, ordered by first frame; boxes are interpolated in frames without a
        detection.
    """
    pool = [list(boxes[:, :4]) for boxes in detections]
    tracks = []
    start = 0
    while (start := next((frame for frame in range(start, len(pool)) if pool[frame]), len(pool))) < len(pool):
        frames, boxes = _take_track(pool, start)
        if len(boxes) <= MIN_BOXES:
            continue
        numbers = np.arange(frames[0], frames[-1] + 1)
        filled = np.stack([np.interp(numbers, frames, values) for values in np.transpose(boxes)], axis=1)
        if max((filled[:, 2:] - filled[:, :2]).mean(axis=0)) > MIN_SIDE:
            tracks.append(FaceTrack(frames[0], filled))
    return tracks


def _take_track(pool: list[list[FloatArray]], start: int) -> tuple[list[int], list[FloatArray]]:
    """Remove the boxes of one face from the pool, starting with the first box of frame `start`."""
    frames: list[int] = []
    boxes: list[FloatArray] = []
    for frame in range(start, len(pool)):
        if frames and frame - frames[-1] > MAX_GAP:
            break
        faces = pool[frame]
        index = 0
        while index < len(faces):
            if not boxes or compute_iou(boxes[-1], faces[index][None])[0] > MIN_OVERLAP:
                boxes.append(faces.pop(index))
                frames.append(frame)
            # As in syncnet_python, the box after a removed one is skipped.
            index += 1
    return frames, boxes


def crop_faces(track: FaceTrack, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Crop a tracked face from the frames of a video.

    Args:
        track: track of the face.
        batches: batches of frames of the whole video, uint8 (n, height, width, 3).

    Yields:
        Face crops in the frames of the track, uint8 (n, 224, 224, 3).
    """
    sides, x, y = smooth_squares(track.boxes)
    number = -track.first
    for batch in batches:
        inside = [index for index in range(len(batch)) if 0 <= number + index < len(track)]
        if inside:
            yield np.stack(
                [
                    crop_face(batch[index], sides[number + index], x[number + index], y[number + index])
                    for index in inside
                ]
            )
        number += len(batch)
        if number >= len(track):
            return


def smooth_squares(boxes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Compute half the longer side and the center of each box, smoothed by a median over 13 frames.

    The filter pads with zeros, so the first and last frames have the smallest values of their neighborhood. Boxes of a
    track, shape (frames, 4), give half sides, x and y, shape (frames,).
    """
    half_sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).T
    windows = sliding_window_view(
        np.pad([half_sides, x, y], ((0, 0), (MEDIAN_FRAMES // 2,) * 2)), MEDIAN_FRAMES, axis=1
    )
    half_sides, x, y = np.median(windows, axis=2)
    return half_sides, x, y


def crop_face(frame: Image, half_side: float, x: float, y: float) -> Image:
    """Crop a face: 2.8 half sides wide, from one half side above the center to 1.8 below, gray outside the frame.

    The frame is uint8 (height, width, 3), the crop (224, 224, 3); half side and center of the box are in pixels.
    """
    # syncnet_python rounds coordinates down in a frame with a gray border.
    border = int(half_side * (1 + 2 * CROP_MARGIN))
    top = int(y + border - half_side) - border
    bottom = int(y + border + half_side * (1 + 2 * CROP_MARGIN)) - border
    left = int(x + border - half_side * (1 + CROP_MARGIN)) - border
    right = int(x + border + half_side * (1 + CROP_MARGIN)) - border

    height, width = frame.shape[:2]
    inside = frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    square = cv2.copyMakeBorder(
        inside,
        max(-top, 0),
        max(bottom - height, 0),
        max(-left, 0),
        max(right - width, 0),
        cv2.BORDER_CONSTANT,
        value=(PADDING_GRAY,) * 3,
    )
    return np.asarray(cv2.resize(square, (CROP_SIDE, CROP_SIDE)), dtype=np.uint8)
