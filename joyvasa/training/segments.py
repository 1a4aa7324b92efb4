"""A recording in stretches: each becomes a clip, or is rejected for one reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.square import Square
from joyvasa.media.audio import SILENCE_PEAK
from joyvasa.training.clip_config import FRAMES_PER_SECOND, ClipConfig
from joyvasa.training.clips import MAX_CLIP_S
from joyvasa.training.scenes import find_frozen_frames, find_scene_starts
from joyvasa.training.tracking import FaceDetections, TrackedFace, TrackState, average_clip_square, track_face

MIN_TOLD_S = 0.5  # what is shorter and no clip is rounding at the ends of picture and sound, and not told

# What was found and what is expected, by reason.
REASONS = {
    "clip_cut": "a change of scene leaves {length:.2f} s; expected {min_s:g} s without one: use a longer shot",
    "too_short": "{length:.2f} s are left; expected at least {min_s:g} s: use a longer recording",
    "face_lost": "no face large enough was found; expected one throughout: use a close, frontal, well lit recording",
    "several_faces": "more than one large face; expected one: cut the picture down to who speaks",
    "face_moves": "the face leaves the crop, which stands still; expected it to stay: use a steadier recording",
    "frozen": "the picture stands still; expected a moving face: leave it out",
    "silent": "nothing is louder than -60 dBFS; expected speech: check the sound",
    "sound_shorter": "the sound has ended; expected it to last as long as the picture: check the recording",
}


@dataclass(frozen=True, eq=False)
class RecordingWindow:
    """Numbers of some consecutive frames of a recording, at 25 a second.

    Args:
        first: number of the first frame.
        changes: of `FrameMeter`, shape (frames,).
        still: of `FrameMeter`, shape (frames,).
        peaks: largest |sample| of the sound of each frame, NaN where there is none; shape (frames,).
        looks: faces, every few frames; numbers of frames count from the start of the recording.
    """

    first: int
    changes: NDArray[np.float32]
    still: NDArray[np.int32]
    peaks: NDArray[np.float32]
    looks: tuple[FaceDetections, ...]

    def __len__(self) -> int:
        return len(self.changes)


@dataclass(frozen=True)
class Segment:
    """Part of a recording: a clip, or the reason why it is none.

    Args:
        first: number of its first frame.
        n_frames: how many.
        square: by which the clip is cut; None where it is rejected.
        code: reason of the rejection.
        sentence: likewise, without the code.
    """

    first: int
    n_frames: int
    square: Square | None = None
    code: str | None = None
    sentence: str | None = None

    @property
    def start_s(self) -> float:
        """Where it begins."""
        return self.first / FRAMES_PER_SECOND

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return self.n_frames / FRAMES_PER_SECOND

    def place(self, name: str | Path) -> str:
        """The recording and the part of it, for sentences."""
        return f"{name}: {self.start_s:.2f} to {self.start_s + self.duration_s:.2f} s"

    def rejected(self, code: str, sentence: str) -> Segment:
        """The same part, rejected."""
        return Segment(self.first, self.n_frames, code=code, sentence=sentence)


@dataclass(frozen=True, eq=False)
class _Run:
    """Consecutive frames of one scene with one thing to say of them; `reason` is empty where they are good."""

    first: int
    end: int
    reason: str
    seen: tuple[TrackedFace, ...]
    after_cut: bool  # a change of scene is at one of its ends


def find_segments(window: RecordingWindow, config: ClipConfig, *, name: str) -> list[Segment]:
    """Divides a part of a recording at changes of scene and of face, and tells what is good in it.

    Args:
        window: that part; its ends divide, too.
        config: what is good.
        name: of the recording, for sentences.

    Returns:
        stretches in order; of good ones each is a clip of at most 60 s.
    """
    stretches = []
    frozen = find_frozen_frames(window.still, round(config.frozen_s * FRAMES_PER_SECOND))
    cuts = [0, *find_scene_starts(window.changes), len(window)]
    for start, end in pairwise(cuts):
        cut = (start > 0, end < len(window))
        if end - start < config.min_frames:
            code = "clip_cut" if any(cut) and len(window) >= config.min_frames else "too_short"
            stretches.append(_rejected(window.first + start, end - start, code, config, name))
            continue
        for run in _runs(window, start, end, cut, frozen, config):
            stretches += _clips(run, window, config, name)
    return [one for one in stretches if one.code is None or one.duration_s >= MIN_TOLD_S] or stretches


def _runs(
    window: RecordingWindow, start: int, end: int, cut: tuple[bool, bool], frozen: NDArray[np.bool_], config: ClipConfig
) -> Iterator[_Run]:
    """Divides a scene, given by frames within the window."""
    looks = [look for look in window.looks if start <= look.frame - window.first < end]
    seen = track_face(looks, max_gap=int(config.lost_s * FRAMES_PER_SECOND / config.look_frames))
    marks: list[tuple[str, int]] = []  # reason and face of each frame
    for number, one in enumerate(seen):
        until = seen[number + 1].frame - window.first if number + 1 < len(seen) else end
        reason = "" if one.sight is TrackState.ONE else one.sight.value
        marks += [(reason, one.track if not reason else -1)] * (until - start - len(marks))
    marks += [(TrackState.LOST.value, -1)] * (end - start - len(marks))
    for frame in range(start, end):
        if np.isnan(window.peaks[frame]):
            marks[frame - start] = ("sound_shorter", -1)
        elif frozen[frame]:
            marks[frame - start] = ("frozen", -1)
    bounds = [0, *(at for at in range(1, len(marks)) if marks[at] != marks[at - 1]), len(marks)]
    for first, last in pairwise(bounds):
        after_cut = (first == 0 and cut[0]) or (last == len(marks) and cut[1])
        inside = tuple(one for one in seen if first <= one.frame - window.first - start < last)
        yield _Run(start + first, start + last, marks[first][0], inside, after_cut)


def _clips(run: _Run, window: RecordingWindow, config: ClipConfig, name: str) -> list[Segment]:
    """The clips of a run, or why it gives none."""
    first, n_frames = window.first + run.first, run.end - run.first
    if run.reason:
        return [_rejected(first, n_frames, run.reason, config, name)]
    if n_frames < config.min_frames:
        return [_rejected(first, n_frames, "clip_cut" if run.after_cut else "too_short", config, name)]
    square = average_clip_square(run.seen)
    n_parts = -(-n_frames // round(MAX_CLIP_S * FRAMES_PER_SECOND))
    if square is None and n_parts == 1:  # half of it may be steady enough
        if n_frames < 2 * config.min_frames:
            return [_rejected(first, n_frames, "face_moves", config, name)]
        n_parts = 2
    if n_parts > 1:
        bounds = [run.first + n_frames * part // n_parts for part in range(n_parts + 1)]
        return [clip for pair in pairwise(bounds) for clip in _clips(_part(run, window, *pair), window, config, name)]
    if window.peaks[run.first : run.end].max() < SILENCE_PEAK:
        return [_rejected(first, n_frames, "silent", config, name)]
    return [Segment(first, n_frames, square)]


def _part(run: _Run, window: RecordingWindow, first: int, end: int) -> _Run:
    inside = tuple(one for one in run.seen if first <= one.frame - window.first < end)
    return _Run(first, end, "", inside, run.after_cut)


def _rejected(first: int, n_frames: int, code: str, config: ClipConfig, name: str) -> Segment:
    stretch = Segment(first, n_frames)
    sentence = REASONS[code].format(length=stretch.duration_s, min_s=config.min_s)
    return stretch.rejected(code, f"{stretch.place(name)}: {sentence}")


def summary(stretches: list[Segment], name: str) -> tuple[str, str]:
    """Code and sentence of a recording without a clip: the reason that costs most, and how long each is.

    Args:
        stretches: all rejected, at least one.
        name: of the recording.
    """
    lengths: dict[str, float] = {}
    for one in stretches:
        lengths[one.code or ""] = lengths.get(one.code or "", 0.0) + one.duration_s
    code = max(lengths, key=lambda key: lengths[key])
    if len(stretches) == 1:
        return code, stretches[0].sentence or ""
    told = ", ".join(f"{key} {length:.1f} s" for key, length in lengths.items())
    first = next(one.sentence for one in stretches if one.code == code)
    return code, f"{name}: no part can be used ({told}); the first with {code} is {first}"
