"""Division of a recording into segments: each becomes a clip or is rejected for a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.square import Square
from joyvasa.faces.tracking import FaceDetections, TrackedFace, TrackState, average_clip_square, track_face
from joyvasa.media.audio import SILENCE_PEAK
from joyvasa.media.scenes import find_frozen_frames, find_scene_starts
from joyvasa.training.clip_config import FRAMES_PER_SECOND, ClipConfig
from joyvasa.training.clips import MAX_CLIP_S

MIN_REPORTED_S = 0.5  # shorter rejected segments are not reported: rounding at the ends of picture and sound

# Sentences by reason of rejection.
REASONS = {
    "clip_cut": "a scene change leaves {length:.2f} s; expected {min_s:g} s without one: use a longer shot",
    "too_short": "only {length:.2f} s long; expected at least {min_s:g} s: use a longer recording",
    "face_lost": "no face large enough was found; expected one throughout: use a close, frontal, well lit recording",
    "several_faces": "more than one large face; expected one: crop the video to the speaker",
    "face_moves": "the face leaves the crop, which does not move; expected it to stay: use a steadier recording",
    "frozen": "the picture does not move; expected a moving face: leave it out",
    "silent": "no sound louder than -60 dBFS; expected speech: check the sound",
    "sound_shorter": "the sound has ended; expected it to last as long as the picture: check the recording",
}


@dataclass(frozen=True, eq=False)
class RecordingWindow:
    """Measurements of consecutive frames of a recording, 25 per second."""

    first: int  # number of the first frame
    changes: NDArray[np.float32]  # differences to the previous frame from `FrameMeter`, shape (frames,)
    still: NDArray[np.int32]  # numbers of still frames from `FrameMeter`, shape (frames,)
    peaks: NDArray[np.float32]  # largest |sample| of the sound of each frame, NaN without sound; shape (frames,)
    # faces of every few frames; frame numbers count from the start of the recording
    detections: tuple[FaceDetections, ...]

    def __len__(self) -> int:
        return len(self.changes)


@dataclass(frozen=True)
class Segment:
    """Part of a recording: a clip, or rejected with a reason."""

    first: int  # number of the first frame
    n_frames: int  # number of frames
    square: Square | None = None  # crop of the clip; None if it is rejected
    code: str | None = None  # reason of the rejection, or None
    sentence: str | None = None  # explanation of the rejection, without the code, or None

    @property
    def start_s(self) -> float:
        """Start in the recording, seconds."""
        return self.first / FRAMES_PER_SECOND

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_frames / FRAMES_PER_SECOND

    def describe(self, name: str | Path) -> str:
        """Return the name of the recording and the times of the segment, for messages."""
        return f"{name}: {self.start_s:.2f} to {self.start_s + self.duration_s:.2f} s"

    def reject(self, code: str, sentence: str) -> Segment:
        """Return the segment as rejected."""
        return Segment(self.first, self.n_frames, code=code, sentence=sentence)


@dataclass(frozen=True, eq=False)
class _Span:
    """Consecutive frames of a scene with one face, or with one reason of rejection."""

    first: int
    end: int
    reason: str  # empty if the frames are usable
    faces: tuple[TrackedFace, ...]
    at_cut: bool  # whether a scene change is at one of the ends


def find_segments(window: RecordingWindow, config: ClipConfig, *, name: str) -> list[Segment]:
    """Divide a window of a recording at scene changes, changes of the face and unusable frames.

    Returns:
        Segments in order; each one that is not rejected is a clip of at most 60 s.
    """
    segments = []
    frozen = find_frozen_frames(window.still, round(config.frozen_s * FRAMES_PER_SECOND))
    cuts = [0, *find_scene_starts(window.changes), len(window)]

    for start, end in pairwise(cuts):
        cut = (start > 0, end < len(window))
        if end - start < config.min_frames:
            code = "clip_cut" if any(cut) and len(window) >= config.min_frames else "too_short"
            segments.append(_rejected(window.first + start, end - start, code, config, name))
            continue
        for span in _divide_scene(window, start, end, cut, frozen, config):
            segments += _cut_clips(span, window, config, name)
    return [item for item in segments if item.code is None or item.duration_s >= MIN_REPORTED_S] or segments


def _divide_scene(
    window: RecordingWindow, start: int, end: int, cut: tuple[bool, bool], frozen: NDArray[np.bool_], config: ClipConfig
) -> Iterator[_Span]:
    """Divide a scene, given by frames relative to the window."""
    detections = [item for item in window.detections if start <= item.frame - window.first < end]
    faces = track_face(detections, max_gap=int(config.lost_s * FRAMES_PER_SECOND / config.detection_interval))

    labels: list[tuple[str, int]] = []  # reason of rejection and track of each frame
    for number, face in enumerate(faces):
        until = faces[number + 1].frame - window.first if number + 1 < len(faces) else end
        reason = "" if face.state is TrackState.ONE else face.state.value
        labels += [(reason, face.track if not reason else -1)] * (until - start - len(labels))
    labels += [(TrackState.LOST.value, -1)] * (end - start - len(labels))
    for frame in range(start, end):
        if np.isnan(window.peaks[frame]):
            labels[frame - start] = ("sound_shorter", -1)
        elif frozen[frame]:
            labels[frame - start] = ("frozen", -1)

    bounds = [0, *(at for at in range(1, len(labels)) if labels[at] != labels[at - 1]), len(labels)]
    for first, last in pairwise(bounds):
        at_cut = (first == 0 and cut[0]) or (last == len(labels) and cut[1])
        inside = tuple(face for face in faces if first <= face.frame - window.first - start < last)
        yield _Span(start + first, start + last, labels[first][0], inside, at_cut)


def _cut_clips(span: _Span, window: RecordingWindow, config: ClipConfig, name: str) -> list[Segment]:
    """Return the clips of a span, or its rejection."""
    first, n_frames = window.first + span.first, span.end - span.first
    if span.reason:
        return [_rejected(first, n_frames, span.reason, config, name)]
    if n_frames < config.min_frames:
        return [_rejected(first, n_frames, "clip_cut" if span.at_cut else "too_short", config, name)]

    square = average_clip_square(span.faces)
    n_parts = -(-n_frames // round(MAX_CLIP_S * FRAMES_PER_SECOND))
    if square is None and n_parts == 1:  # each half may be steady enough
        if n_frames < 2 * config.min_frames:
            return [_rejected(first, n_frames, "face_moves", config, name)]
        n_parts = 2
    if n_parts > 1:
        bounds = [span.first + n_frames * part // n_parts for part in range(n_parts + 1)]
        parts = [_part_of(span, window, *pair) for pair in pairwise(bounds)]
        return [clip for part in parts for clip in _cut_clips(part, window, config, name)]

    if window.peaks[span.first : span.end].max() < SILENCE_PEAK:
        return [_rejected(first, n_frames, "silent", config, name)]
    return [Segment(first, n_frames, square)]


def _part_of(span: _Span, window: RecordingWindow, first: int, end: int) -> _Span:
    inside = tuple(face for face in span.faces if first <= face.frame - window.first < end)
    return _Span(first, end, "", inside, span.at_cut)


def _rejected(first: int, n_frames: int, code: str, config: ClipConfig, name: str) -> Segment:
    segment = Segment(first, n_frames)
    sentence = REASONS[code].format(length=segment.duration_s, min_s=config.min_s)
    return segment.reject(code, f"{segment.describe(name)}: {sentence}")


def summarize_rejections(segments: list[Segment], name: str) -> tuple[str, str]:
    """Return the code and the sentence for a recording without a clip, by the reason that rejects most of it."""
    lengths: dict[str, float] = {}
    for segment in segments:
        lengths[segment.code or ""] = lengths.get(segment.code or "", 0.0) + segment.duration_s
    code = max(lengths, key=lambda key: lengths[key])
    if len(segments) == 1:
        return code, segments[0].sentence or ""

    listing = ", ".join(f"{key} {length:.1f} s" for key, length in lengths.items())
    first = next(segment.sentence for segment in segments if segment.code == code)
    return code, f"{name}: no part can be used ({listing}); the first with {code} is {first}"
