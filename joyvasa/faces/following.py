"""The crop of one face in every frame of a video, from detections every few frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.square import Square
from joyvasa.faces.tracking import FaceDetections, TrackedFace, TrackState, average_clip_square, track_face

FOLLOW_S = 2.0  # seconds over which the path of a crop is smoothed that follows a face


@dataclass(frozen=True, eq=False)
class FacePath:
    """The crop of a face in each frame of a video."""

    centers: NDArray[np.float64]  # centers of the crops (x, y), pixels of the video, shape (frames, 2)
    sides: NDArray[np.float64]  # sides of the crops, pixels, shape (frames,)
    visible: NDArray[np.bool_]  # whether the face is visible, shape (frames,)
    scene_starts: tuple[int, ...]  # frames that start a new scene, except the first
    several: bool  # whether another large face was seen

    def __len__(self) -> int:
        return len(self.sides)

    def squares(self) -> Iterator[Square]:
        """Yield the crop of each frame, which is upright."""
        for (x, y), side in zip(self.centers, self.sides, strict=True):
            yield Square((float(x), float(y)), float(side), 0.0)

    def hidden_spans(self) -> list[tuple[int, int]]:
        """Return the first frame and the end of each period in which the face is not visible."""
        edges = np.flatnonzero(np.diff(np.r_[False, ~self.visible, False].astype(np.int8)))
        return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def follow_face(
    detections: Sequence[FaceDetections],
    n_frames: int,
    *,
    scene_starts: Sequence[int],
    index: int,
    max_gap: int,
    frames_per_second: float,
) -> FacePath:
    """Follow one face through a video.

    Each scene has one crop, the mean of those of its frames, as in LivePortrait; so the motion of the head in the crop
    is that in the video. If the face leaves this crop, as that of a person who walks does, the crop follows it slowly.

    Args:
        detections: faces of every few frames, in order; at least one.
        n_frames: number of frames of the video.
        scene_starts: frames that start a new scene, in order.
        index: number of the followed face when it first appears; 0 is the largest.
        max_gap: number of detections in a row that may miss the face without an effect.
        frames_per_second: frame rate.
    """
    centers, sides = np.full((n_frames, 2), np.nan), np.full(n_frames, np.nan)
    visible, several = np.zeros(n_frames, bool), False
    interval = detections[1].frame - detections[0].frame if len(detections) > 1 else n_frames
    starts = _drop_short_scenes(scene_starts, n_frames, interval)

    for start, end in pairwise([0, *starts, n_frames]):
        faces = track_face([item for item in detections if start <= item.frame < end], max_gap=max_gap, index=index)
        seen = [face for face in faces if face.square is not None]
        several |= any(face.state is TrackState.SEVERAL for face in faces)
        if not seen:
            continue
        visible[start:end] = _find_visible(faces, start, end, max_gap)
        centers[start:end], sides[start:end] = _find_crops(seen, start, end, round(FOLLOW_S * frames_per_second))

    missing = np.isnan(sides)  # scenes without the face
    if missing.any() and not missing.all():
        known = np.flatnonzero(~missing)
        nearest = known[np.searchsorted(known, np.flatnonzero(missing)).clip(max=len(known) - 1)]
        centers[missing], sides[missing] = centers[nearest], sides[nearest]
    return FacePath(centers, sides, visible, starts, several)


def _drop_short_scenes(scene_starts: Sequence[int], n_frames: int, interval: int) -> tuple[int, ...]:
    """Return the starts of scenes of at least `interval` frames, each of which has a detection; others are flashes."""
    starts: list[int] = []
    for start in scene_starts:
        if start - (starts[-1] if starts else 0) >= interval and n_frames - start >= interval:
            starts.append(start)
    return tuple(starts)


def _find_visible(faces: Sequence[TrackedFace], start: int, end: int, max_gap: int) -> NDArray[np.bool_]:
    """Return which frames of a scene show the face: those between two detections of it, and short gaps.

    Between a detection of the face and one without it, the face may leave the picture, where a part of it is misread.
    """
    shown = np.array([face.square is not None for face in faces])
    seen = np.flatnonzero(shown)
    for before, after in pairwise(seen):
        if after - before - 1 <= max_gap:
            shown[before:after] = True
    frames, detected = np.arange(start, end), np.array([face.frame for face in faces])
    before = np.searchsorted(detected, frames, side="right") - 1
    after = np.searchsorted(detected, frames)
    return shown[before.clip(min=0)] & shown[after.clip(max=len(detected) - 1)]


def _find_crops(seen: Sequence[TrackedFace], start: int, end: int, window: int) -> tuple[NDArray, NDArray]:
    """Return the centers (frames, 2) and the sides (frames,) of the crops of a scene."""
    fixed = average_clip_square(seen)
    if fixed is not None:
        return np.tile(fixed.center, (end - start, 1)), np.full(end - start, fixed.side)
    squares = [(*face.square.center, face.square.side) for face in seen if face.square is not None]
    columns = np.array(squares).T
    frames = [face.frame for face in seen]
    followed = np.stack([np.interp(np.arange(start, end), frames, column) for column in columns], axis=1)
    smooth = _smooth_lines(followed, window)
    return smooth[:, :2], smooth[:, 2]


def _smooth_lines(values: NDArray, window: int) -> NDArray:
    """Average windows around each row of (frames, n); a steady walk is followed without a lag, also at its ends."""
    reach = min(window // 2, len(values) - 1)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0).mean(axis=-1)
