"""Tracking of one face through a recording, with detections every few frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.boxes import compute_iou
from joyvasa.faces.detection import Face
from joyvasa.faces.geometry import compute_average_square
from joyvasa.faces.square import Square, compute_face_square

FloatArray = NDArray[np.floating]

# Crop of a driving video, LivePortrait's published values.
CROP_SCALE, CROP_VY = 2.2, -0.1
MIN_OVERLAP = 0.3  # minimum intersection over union of the boxes of a face in two detections
RIVAL = 0.5  # minimum side of a second face, relative to that of the tracked face


class TrackState(StrEnum):
    """Visibility of the tracked face; other values than ONE are reasons of rejection."""

    ONE = "one"
    LOST = "face_lost"
    SEVERAL = "several_faces"


@dataclass(frozen=True, eq=False)
class FaceDetections:
    """The faces of one frame."""

    frame: int  # number of the frame
    boxes: FloatArray  # left, top, right, bottom of each face, pixels, shape (faces, 4)
    squares: tuple[Square, ...]  # crop of each face

    @classmethod
    def from_faces(
        cls,
        frame: int,
        faces: Sequence[Face],
        *,
        min_side: float,
        scale: float = CROP_SCALE,
        vx_ratio: float = 0.0,
        vy_ratio: float = CROP_VY,
    ) -> FaceDetections:
        """Build from the faces of a detector, largest first.

        Args:
            frame: number of the frame.
            faces: faces of the frame.
            min_side: smaller faces are left out, pixels.
            scale: enlargement of the crops, as for `compute_face_square`.
            vx_ratio: shift of the crops along the eyes.
            vy_ratio: shift of the crops towards the mouth.
        """
        faces = sorted((face for face in faces if face.side >= min_side), key=lambda face: -face.side)
        boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
        squares = [
            compute_face_square(face.landmarks, scale=scale, vx_ratio=vx_ratio, vy_ratio=vy_ratio, extent=face.extent)
            for face in faces
        ]
        return cls(frame, boxes, tuple(squares))

    @classmethod
    def whole_frame(cls, frame: int, width: int, height: int) -> FaceDetections:
        """Build a detection that covers the whole frame."""
        side = float(max(width, height))
        return cls(frame, np.array([[0.0, 0.0, width, height]]), (Square((width / 2, height / 2), side, 0.0),))


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """The tracked face in a frame."""

    frame: int  # number of the frame
    state: TrackState  # visibility of the face, after short interruptions are bridged
    track: int  # number of the track; entries in state ONE with the same number show the same face
    box: FloatArray | None  # box of the face; None if it was not detected
    square: Square | None  # crop of the face; None if it was not detected


def track_face(detections: Sequence[FaceDetections], *, max_gap: int, index: int = 0) -> list[TrackedFace]:
    """Track one face of a scene.

    Args:
        detections: detections of the scene, in order.
        max_gap: number of detections in a row that may miss the face or show a second one without an effect.
        index: number of the face when it first appears; 0 is the largest. If the face is lost for longer than
            `max_gap`, the largest one is tracked from then on, or the nearest one if `index` is not 0.
    """
    faces = _match_detections(detections, max_gap, index)
    states = [face.state for face in faces]
    tracks = [face.track for face in faces]

    for state, first, end in _find_runs(states):  # bridge short interruptions
        between = 0 < first and end < len(faces)
        if state is not TrackState.ONE and end - first <= max_gap and between and tracks[first - 1] == tracks[end]:
            states[first:end] = [TrackState.ONE] * (end - first)
            tracks[first:end] = [tracks[end]] * (end - first)
    for state, first, end in _find_runs(states):  # drop short, probably false, detections
        if state is TrackState.ONE and end - first <= max_gap and end - first < len(faces):
            states[first:end] = [states[first - 1] if first else states[end]] * (end - first)
    return [replace(face, state=state, track=track) for face, state, track in zip(faces, states, tracks, strict=True)]


def _match_detections(detections: Sequence[FaceDetections], max_gap: int, first: int) -> list[TrackedFace]:
    faces: list[TrackedFace] = []
    last_box: FloatArray | None = None
    track, missed = -1, 0

    for item in detections:
        index = None
        if last_box is not None and len(item.boxes):
            overlaps = compute_iou(last_box, item.boxes)
            index = int(overlaps.argmax()) if overlaps.max() > MIN_OVERLAP else None
        if index is None and len(item.boxes) > first and last_box is None:
            index, track = first, track + 1
        elif index is None and len(item.boxes) and last_box is not None and missed > max_gap:
            distances = np.abs(item.boxes - last_box).sum(axis=1)
            index, track = int(distances.argmin()) if first else 0, track + 1
        if index is None:
            missed += 1
            faces.append(TrackedFace(item.frame, TrackState.LOST, track, None, None))
            continue

        missed, last_box = 0, item.boxes[index]
        sides = (item.boxes[:, 2:] - item.boxes[:, :2]).max(axis=1)
        several = int((sides >= RIVAL * sides[index]).sum()) > 1
        state = TrackState.SEVERAL if several else TrackState.ONE
        faces.append(TrackedFace(item.frame, state, track, item.boxes[index], item.squares[index]))
    return faces


def _find_runs(values: Sequence[TrackState]) -> list[tuple[TrackState, int, int]]:
    """Return runs of equal values: value, first, end."""
    runs, first = [], 0
    for value, group in groupby(values):
        end = first + len(list(group))
        runs.append((value, first, end))
        first = end
    return runs


def average_clip_square(faces: Sequence[TrackedFace]) -> Square | None:
    """Return the crop of a clip, the mean of the crops of its faces; None if the face does not stay inside."""
    detected = [(face.box, face.square) for face in faces if face.box is not None and face.square is not None]
    if not detected:
        return None
    square = compute_average_square([square for _, square in detected])
    left, top, right, bottom = square.box

    # The boxes of detectors are loose: only the middle of the box, with half of its size, must stay inside.
    boxes = np.stack([box for box, _ in detected])
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]) / 4
    inside = (centers - halves >= (left, top)).all() and (centers + halves <= (right, bottom)).all()
    return square if inside else None
