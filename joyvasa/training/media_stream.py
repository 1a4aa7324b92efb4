"""Synchronized streams of the frames and the sound of a recording, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from joyvasa.errors import InputError
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.tracking import FaceDetections
from joyvasa.media.audio import SampleReader, stream_audio
from joyvasa.media.image import Image
from joyvasa.media.scenes import FrameMeter
from joyvasa.media.video_reader import VideoInfo, stream_frames
from joyvasa.training.clip_config import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, ClipConfig
from joyvasa.training.segments import RecordingWindow

WINDOW_S = 600  # length of a `RecordingWindow`, which holds a few numbers per frame


class SoundStream:
    """Forward reader for the sound of a recording, 16 kHz mono, from time 0 of the file like `FrameStream`."""

    def __init__(self, path: Path) -> None:
        self._samples = SampleReader(stream_audio(path, clock="file"))

    def read(self, first: int, n_samples: int) -> np.ndarray:
        """Read the samples `first` to `first + n_samples`, skipping those before.

        Returns:
            float32 (n,); fewer samples at the end of the sound.
        """
        for _ in self._samples.read(first):
            pass
        return np.concatenate([*self._samples.read(first + n_samples), np.zeros(0, np.float32)])


class FrameStream:
    """Forward reader for the frames of a recording, 25 per second, from time 0 of the file."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._frames = stream_frames(path, frames_per_second=FRAMES_PER_SECOND, info=info)
        self._path = path
        self._position = 0

    def __iter__(self) -> Iterator[Image]:
        return self._frames

    def read(self, first: int, n_frames: int) -> Iterator[Image]:
        """Yield the frames `first` to `first + n_frames`, skipping those before.

        Raises:
            InputError: `video_unreadable`, if the video ends before.
        """
        while self._position < first + n_frames:
            frame = next(self._frames, None)
            if frame is None:
                problem = f"{self._path}: ends after {self._position} frames, but had more before"
                raise InputError("video_unreadable", f"{problem}; expected the same file: do not change it in a run")
            self._position += 1
            if self._position > first:
                yield frame


def measure_windows(
    path: Path,
    info: VideoInfo,
    detector: FaceDetector | None,
    config: ClipConfig,
    *,
    min_side: float,
    on_frames: Callable[[int], None] | None = None,
) -> Iterator[RecordingWindow]:
    """Measure the picture and the sound of a recording.

    Args:
        path: path of the recording.
        info: result of `probe_video`.
        detector: face detector; None to treat the whole frame as the face.
        config: clip options, for the detection rate.
        min_side: minimum side of a face, pixels.
        on_frames: callback with the number of frames that were measured, 25 per second, after each.

    Yields:
        Windows of 10 minutes; the last one may be shorter.

    Raises:
        InputError: an error of `stream_video` or `stream_audio`.
    """
    sound, meter = SoundStream(path), FrameMeter()
    changes: list[float] = []
    still: list[int] = []
    peaks: list[float] = []
    detections: list[FaceDetections] = []
    first = 0

    def build_window() -> RecordingWindow:
        return RecordingWindow(
            first,
            np.array(changes, np.float32),
            np.array(still, np.int32),
            np.array(peaks, np.float32),
            tuple(detections),
        )

    for number, frame in enumerate(FrameStream(path, info)):
        change, n_still = meter.measure(frame)
        changes.append(change)
        still.append(min(n_still, len(still)))  # counted from the start of the window
        samples = sound.read(number * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME)
        peaks.append(float(np.abs(samples).max()) if len(samples) == SAMPLES_PER_FRAME else np.nan)

        if (number - first) % config.detection_interval == 0:
            height, width = frame.shape[:2]
            detections.append(
                FaceDetections.whole_frame(number, width, height)
                if detector is None
                else FaceDetections.from_faces(number, detector.detect(frame), min_side=min_side)
            )

        if on_frames:
            on_frames(number + 1)
        if len(changes) == WINDOW_S * FRAMES_PER_SECOND:
            yield build_window()
            first = number + 1
            changes, still, peaks, detections = [], [], [], []
    if changes:
        yield build_window()
