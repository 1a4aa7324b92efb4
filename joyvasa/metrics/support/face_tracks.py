"""Faces followed through a video, and cut out as SyncNet was trained to see them (syncnet_python's pipeline)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import medfilt

from joyvasa.errors import ConfigError
from joyvasa.faces.boxes import intersection_over_union
from joyvasa.media.image import Image

FloatArray: TypeAlias = NDArray[np.floating]

CROP_SIDE = 224  # pixels
CROP_MARGIN = 0.4  # of the face's side, added at each side and twice below
MEDIAN_FRAMES = 13  # of the filter over the boxes of a track
GREY = 110  # outside the frame


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """When boxes of several frames are one face; the defaults are the protocol's.

    Args:
        max_gap: frames that a face may be lost for.
        min_overlap: of a box with the one before, intersection over union.
        min_boxes: a track needs more than this many, so that clips of 4 seconds or less have none. Others who use
            the protocol take 50; with less than 7 the filtered boxes vanish.
        min_side: mean width or height of the boxes must exceed this, pixels of the video.

    Raises:
        ConfigError: `face_tracks`, a value is out of range.
    """

    max_gap: int = 25
    min_overlap: float = 0.5
    min_boxes: int = 100
    min_side: float = 100.0

    def __post_init__(self) -> None:
        if not (self.max_gap >= 1 and 0 <= self.min_overlap < 1 and self.min_boxes >= 7 and self.min_side >= 0):
            expected = "max_gap from 1, min_overlap in [0, 1), min_boxes from 7, min_side from 0"
            raise ConfigError("face_tracks", f"{self} found; expected {expected}: correct the value")


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face in consecutive frames.

    Args:
        first: number of its first frame.
        boxes: left, top, right, bottom in every frame, pixels, float64 (frames, 4).
    """

    first: int
    boxes: FloatArray

    def __len__(self) -> int:
        return len(self.boxes)


def track_faces(detections: Sequence[FloatArray], config: TrackConfig | None = None) -> list[FaceTrack]:
    """Joins the boxes of frames to tracks.

    Args:
        detections: boxes of each frame, shape (faces, 4 or more), best first.
        config: when boxes are one face.

    Returns:
        Tracks of faces that are large and seen often enough, in the order of their first frames; frames in which a
        face was lost have a box between their neighbours'.
    """
    config = config or TrackConfig()
    pool = [list(boxes[:, :4]) for boxes in detections]
    tracks = []
    start = 0
    while (start := next((frame for frame in range(start, len(pool)) if pool[frame]), len(pool))) < len(pool):
        frames, boxes = _take_track(pool, start, config)
        if len(boxes) <= config.min_boxes:
            continue
        numbers = np.arange(frames[0], frames[-1] + 1)
        filled = np.stack([np.interp(numbers, frames, values) for values in np.transpose(boxes)], axis=1)
        if max((filled[:, 2:] - filled[:, :2]).mean(axis=0)) > config.min_side:
            tracks.append(FaceTrack(frames[0], filled))
    return tracks


def _take_track(pool: list[list[FloatArray]], start: int, config: TrackConfig) -> tuple[list[int], list[FloatArray]]:
    """Moves the boxes of the next face out of the pool, from the first box of the frame `start` on."""
    frames: list[int] = []
    boxes: list[FloatArray] = []
    for frame in range(start, len(pool)):
        if frames and frame - frames[-1] > config.max_gap:
            break
        faces = pool[frame]
        index = 0
        while index < len(faces):
            if not boxes or intersection_over_union(boxes[-1], faces[index][None])[0] > config.min_overlap:
                boxes.append(faces.pop(index))
                frames.append(frame)
            # After a box that was taken the published program skips one: the next has moved to its place.
            index += 1
    return frames, boxes


def crop_faces(track: FaceTrack, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cuts a track out of the frames of a video.

    Args:
        track: the face.
        batches: the whole video from its first frame on, uint8 (n, height, width, 3) each.

    Yields:
        The face in the frames of the track, uint8 (n, 224, 224, 3).
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
    """Half the longer side and the centre of each box, each smoothed by a median over 13 frames.

    Beyond the ends the filter takes zeros, so that the first and last frames have the smallest of their neighbours.

    Args:
        boxes: shape (frames, 4).

    Returns:
        Half sides, x and y, shape (frames,).
    """
    half_sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).T
    half_sides, x, y = (medfilt(values, MEDIAN_FRAMES) for values in (half_sides, x, y))
    return half_sides, x, y


def crop_face(frame: Image, half_side: float, x: float, y: float) -> Image:
    """Cuts out one face: 2.8 half sides wide, from one above the centre to 1.8 below.

    Args:
        frame: uint8 (height, width, 3).
        half_side: of `smoothed_squares`, pixels, as the other two.
        x: of the centre.
        y: of the centre.

    Returns:
        uint8 (224, 224, 3), grey where the frame ends.
    """
    # The published program cuts out of the frame with a grey border and rounds down there.
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
        value=(GREY, GREY, GREY),
    )
    return np.asarray(cv2.resize(square, (CROP_SIDE, CROP_SIDE)), dtype=np.uint8)
