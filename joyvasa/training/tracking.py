"""One face followed through a recording, looked for every few frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.boxes import intersection_over_union
from joyvasa.faces.detection import Face
from joyvasa.faces.geometry import mean_square
from joyvasa.faces.square import Square, face_square

FloatArray = NDArray[np.floating]

# The square around the face of a driving video, LivePortrait's published values.
CROP_SCALE, CROP_VY = 2.2, -0.1
MIN_OVERLAP = 0.3  # of the boxes of one face in two looks, intersection over union
RIVAL = 0.5  # another face counts if its side is this part of the face's, at least


class TrackState(StrEnum):
    """What a look showed."""

    ONE = "one"
    LOST = "face_lost"
    SEVERAL = "several_faces"


@dataclass(frozen=True, eq=False)
class FaceDetections:
    """The faces of one frame.

    Args:
        frame: its number.
        boxes: left, top, right, bottom, pixels, shape (faces, 4).
        squares: around each face.
    """

    frame: int
    boxes: FloatArray
    squares: tuple[Square, ...]

    @classmethod
    def at(cls, frame: int, faces: Sequence[Face], *, min_side: float) -> FaceDetections:
        """What a detector found, without faces that are too small; the largest first."""
        kept = sorted((face for face in faces if face.side >= min_side), key=lambda face: -face.side)
        boxes = np.array([face.box for face in kept], np.float64).reshape(-1, 4)
        squares = [face_square(face.landmarks, scale=CROP_SCALE, vy_ratio=CROP_VY, extent=face.extent) for face in kept]
        return cls(frame, boxes, tuple(squares))

    @classmethod
    def whole(cls, frame: int, width: int, height: int) -> FaceDetections:
        """Where the whole frame counts as the face."""
        side = float(max(width, height))
        return cls(frame, np.array([[0.0, 0.0, width, height]]), (Square((width / 2, height / 2), side, 0.0),))


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """What a look says of the face that is followed.

    Args:
        frame: number of the frame.
        sight: after short interruptions were bridged.
        track: number of the face; those of ONE with the same number belong together.
        box: of the face, None where it was not found.
        square: likewise.
    """

    frame: int
    sight: TrackState
    track: int
    box: FloatArray | None
    square: Square | None


def track_face(looks: Sequence[FaceDetections], *, max_gap: int) -> list[TrackedFace]:
    """Follows the largest face of a scene.

    Args:
        looks: of one scene, in order.
        max_gap: looks for which the face may be lost, or others be seen, without an effect.
    """
    seen = _matched(looks, max_gap)
    sights = [one.sight for one in seen]
    tracks = [one.track for one in seen]
    for sight, first, end in _runs(sights):
        between = 0 < first and end < len(seen)
        if sight is not TrackState.ONE and end - first <= max_gap and between and tracks[first - 1] == tracks[end]:
            sights[first:end] = [TrackState.ONE] * (end - first)
            tracks[first:end] = [tracks[end]] * (end - first)
    for sight, first, end in _runs(sights):
        if (
            sight is TrackState.ONE and end - first <= max_gap and end - first < len(seen)
        ):  # a chance hit of the detector
            sights[first:end] = [sights[first - 1] if first else sights[end]] * (end - first)
    return [
        TrackedFace(one.frame, sight, track, one.box, one.square)
        for one, sight, track in zip(seen, sights, tracks, strict=True)
    ]


def _matched(looks: Sequence[FaceDetections], max_gap: int) -> list[TrackedFace]:
    seen: list[TrackedFace] = []
    last: FloatArray | None = None
    track, missed = -1, 0
    for look in looks:
        face = None
        if last is not None and len(look.boxes):
            overlaps = intersection_over_union(last, look.boxes)
            face = int(overlaps.argmax()) if overlaps.max() > MIN_OVERLAP else None
        if face is None and len(look.boxes) and (last is None or missed > max_gap):
            face, track = 0, track + 1
        if face is None:
            missed += 1
            seen.append(TrackedFace(look.frame, TrackState.LOST, track, None, None))
            continue
        missed, last = 0, look.boxes[face]
        sides = (look.boxes[:, 2:] - look.boxes[:, :2]).max(axis=1)
        several = int((sides >= RIVAL * sides[face]).sum()) > 1
        seen.append(
            TrackedFace(
                look.frame,
                TrackState.SEVERAL if several else TrackState.ONE,
                track,
                look.boxes[face],
                look.squares[face],
            )
        )
    return seen


def _runs(values: Sequence[TrackState]) -> list[tuple[TrackState, int, int]]:
    """Equal neighbours: value, first, end."""
    runs, first = [], 0
    for value, group in groupby(values):
        end = first + len(list(group))
        runs.append((value, first, end))
        first = end
    return runs


def average_clip_square(seen: Sequence[TrackedFace]) -> Square | None:
    """The one square that a clip is cut by, the mean of those of its looks; None if the face does not stay in it."""
    found = [(one.box, one.square) for one in seen if one.box is not None and one.square is not None]
    if not found:
        return None
    square = mean_square([square for _, square in found])
    left, top, right, bottom = square.box
    boxes = np.stack([box for box, _ in found])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    # Detectors' boxes are loose: what must stay inside is the middle of the face with half of its box around.
    halves = (boxes[:, 2:] - boxes[:, :2]) / 4
    inside = (centres - halves >= (left, top)).all() and (centres + halves <= (right, bottom)).all()
    return square if inside else None
