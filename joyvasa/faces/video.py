"""Following of one face through a video, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from joyvasa.errors import InputError, InputWarning
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.following import FacePath, follow_face
from joyvasa.faces.tracking import FaceDetections
from joyvasa.media.image import Image
from joyvasa.media.scenes import FrameMeter, find_scene_starts
from joyvasa.media.video_reader import VideoInfo, stream_frames

MAX_FRAMES = 1 << 20  # eleven hours at 25 frames per second; a few hundred bytes are kept of each frame
DETECTIONS_PER_S = 5.0
MAX_GAP_S = 0.5  # longest time without a detection in which the face counts as visible
MIN_VISIBLE = 0.5  # share of the frames that must show the face
SHOWN_TIMES = 5  # times that a warning lists

Progress = Callable[[str, int, int | None], object]  # step, done, total


def estimate_fraction(done: int, total: int | None) -> float:
    """Return the finished fraction of a step of `Progress`, 0 to 1; without a total, that of the longest video."""
    return min(done / (total or MAX_FRAMES), 1.0)


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video at one rate and size."""

    path: Path  # video file; its rotation is applied
    info: VideoInfo  # result of `probe_video`
    rate: Fraction  # frames per second
    width: int  # size of the frames, pixels
    height: int  # size of the frames, pixels

    def __iter__(self) -> Iterator[Image]:
        """Decode the frames, uint8 RGB (height, width, 3)."""
        size = self.width, self.height
        return stream_frames(self.path, frames_per_second=self.rate, size=size, info=self.info)


@dataclass(frozen=True, kw_only=True)
class FaceFollower:
    """Finds the crop of one face in each frame of a video."""

    detector: FaceDetector | None  # face detector; None if the frames are face crops
    index: int  # face to follow; 0 is the largest when it first appears
    option: str  # name of the option that selects the face, for warnings
    min_side: int  # smaller faces are ignored, pixels
    scale: float  # enlargement of the crop, as in `CropConfig`
    vx_ratio: float  # shift of the crop along the eyes
    vy_ratio: float  # shift of the crop towards the mouth

    def follow(self, frames: VideoFrames, on_progress: Progress | None = None) -> FacePath:
        """Decode a video and follow the face.

        Raises:
            InputError: see `stream_video`; `face_not_found`, `face_index`, `video_too_long`, or `face_lost` if the face
                is visible in less than half of the frames.
        """
        interval = max(1, round(float(frames.rate) / DETECTIONS_PER_S))
        meter = FrameMeter()
        changes: list[float] = []
        detections: list[FaceDetections] = []

        for number, frame in enumerate(frames):
            if number == MAX_FRAMES:
                sentence = f"{frames.path}: more than {MAX_FRAMES} frames; expected less: cut the video"
                raise InputError("video_too_long", sentence)
            changes.append(meter.measure(frame)[0] if self.detector else 0.0)
            if number % interval == 0:
                detections.append(self._detect(number, frame))
                if on_progress:
                    on_progress("faces", number + 1, None)

        self._check_index(frames.path, max(len(item.boxes) for item in detections))
        face = follow_face(
            detections,
            len(changes),
            scene_starts=find_scene_starts(np.array(changes, np.float32)),
            index=self.index,
            max_gap=int(MAX_GAP_S * float(frames.rate) / interval),
            frames_per_second=float(frames.rate),
        )
        _check_visible(frames.path, face)
        return face

    def describe(self, frames: VideoFrames, face: FacePath, *, hidden: str, cut: str) -> tuple[InputWarning, ...]:
        """Return the warnings about a followed face: `face_lost`, `scene_change` and `several_faces`.

        Args:
            frames: frames of the video.
            face: result of `follow`.
            hidden: effect on frames without the face, for the sentence.
            cut: effect of a scene change, for the sentence.
        """
        path, rate, spans = frames.path, frames.rate, face.hidden_spans()
        warnings = []
        if spans:
            times = [f"{float(first / rate):.2f} to {float(end / rate):.2f} s" for first, end in spans]
            warnings.append(InputWarning("face_lost", f"{path}: no face found from {_list(times)}; {hidden}"))
        hidden_edges = {frame for span in spans for frame in span}
        if cuts := [frame for frame in face.scene_starts if frame not in hidden_edges]:
            times = [f"{float(frame / rate):.2f} s" for frame in cuts]
            warnings.append(InputWarning("scene_change", f"{path}: scene changes at {_list(times)}; {cut}"))
        if face.several:
            found = f"{path}: several faces found; number {self.index} is followed"
            warnings.append(InputWarning("several_faces", f"{found}; choose another with {self.option}"))
        return tuple(warnings)

    def _detect(self, number: int, frame: Image) -> FaceDetections:
        height, width = frame.shape[:2]
        if self.detector is None:
            return FaceDetections.whole_frame(number, width, height)
        return FaceDetections.from_faces(
            number,
            self.detector.detect(frame),
            min_side=self.min_side,
            scale=self.scale,
            vx_ratio=self.vx_ratio,
            vy_ratio=self.vy_ratio,
        )

    def _check_index(self, path: Path, n_faces: int) -> None:
        if not n_faces:
            raise InputError("face_not_found", f"{path}: no face found; expected a close, frontal, well lit face")
        if self.index >= n_faces:
            found = f"{path}: at most {n_faces} {'face' if n_faces == 1 else 'faces'} found in a frame"
            raise InputError(
                "face_index", f"{found}; {self.option} {self.index} expects {self.index + 1}: use a lower number"
            )


def _check_visible(path: Path, face: FacePath) -> None:
    share = face.visible.mean()
    if share < MIN_VISIBLE:
        found = f"{path}: the face was found in {share:.0%} of the frames; expected at least {MIN_VISIBLE:.0%}"
        raise InputError("face_lost", f"{found}: use a video of one close, frontal, well lit face")


def _list(times: list[str]) -> str:
    more = len(times) - SHOWN_TIMES
    return ", ".join(times[:SHOWN_TIMES]) + (f" and {more} more" if more > 0 else "")
