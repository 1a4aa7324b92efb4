"""Picture and sound of a recording, in step, as streams: memory does not grow with the recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from joyvasa.errors import InputError
from joyvasa.faces.detection import FaceDetector
from joyvasa.media.audio import SAMPLE_RATE, stream_audio
from joyvasa.media.ffmpeg import inspect_file
from joyvasa.media.image import Image
from joyvasa.media.video_reader import BATCH_FRAMES, VideoInfo, stream_video
from joyvasa.training.clip_config import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, ClipConfig
from joyvasa.training.scenes import FrameMeter
from joyvasa.training.segments import RecordingWindow
from joyvasa.training.tracking import FaceDetections

WINDOW_S = 600  # what is judged together; of each frame a few numbers are kept for as long
BATCH_BYTES = 64 << 20  # of decoded frames
_START = re.compile(r"Parsed_ashowinfo\S* @ .*?\bpts_time:\s*(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


def sound_delay_s(path: Path) -> float:
    """When the sound of a file begins, seconds after time 0 of the file; 0 where the file does not say.

    Time 0 is where the first of its streams begins, and where the first frame of `stream_video` stands: a picture that
    begins later shows its first frame until then.

    Args:
        path: of a file with sound.
    """
    messages = inspect_file(path, "-map", "0:a:0", "-frames:a", "1", "-af", "ashowinfo", "-f", "null", "-")
    start = _START.search(messages)
    return max(0.0, float(start[1])) if start else 0.0


class SoundStream:
    """The sound of a recording from time 0 of the file on, as its `Picture`, 16 kHz mono, read forwards.

    Args:
        path: of the recording.
        delay_s: of `sound_delay_s`; so much silence comes before the sound.
    """

    def __init__(self, path: Path, delay_s: float) -> None:
        self._blocks = stream_audio(path)
        self._silence = round(delay_s * SAMPLE_RATE)  # samples that are still to come
        self._rest = np.zeros(0, np.float32)
        self.position = 0

    def take(self, n_samples: int) -> np.ndarray:
        """The next samples, float32 (n,); fewer where the sound ends."""
        parts, missing = [], n_samples
        while missing:
            if self._silence:
                self._rest = np.zeros(min(self._silence, missing), np.float32)
                self._silence -= len(self._rest)
            elif not len(self._rest):
                block = next(self._blocks, None)
                if block is None:
                    break
                self._rest = block
            parts.append(self._rest[:missing])
            self._rest = self._rest[len(parts[-1]) :]
            missing -= len(parts[-1])
        self.position += n_samples - missing
        return np.concatenate([*parts, np.zeros(0, np.float32)])

    def skip(self, n_samples: int) -> None:
        """Leaves samples out."""
        while n_samples > 0 and len(taken := self.take(min(n_samples, SAMPLE_RATE))):
            n_samples -= len(taken)


class FrameStream:
    """The frames of a recording at 25 a second from time 0 of the file on, read forwards.

    Args:
        path: of the recording.
        info: of `probe_video`.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        batch = max(1, min(BATCH_FRAMES, BATCH_BYTES // (info.width * info.height * 3)))
        batches = stream_video(path, frames_per_second=FRAMES_PER_SECOND, batch_frames=batch, info=info)
        self._frames = (frame for frames in batches for frame in frames)
        self._path = path
        self._position = 0

    def __iter__(self) -> Iterator[Image]:
        return self._frames

    def take(self, first: int, n_frames: int) -> Iterator[Image]:
        """Frames `first` to `first + n_frames`; those before are left out.

        Raises:
            InputError: `video_unreadable`, where the video ends before.
        """
        while self._position < first + n_frames:
            frame = next(self._frames, None)
            if frame is None:
                found = f"{self._path}: it ends after {self._position} frames, and had more before"
                raise InputError("video_unreadable", f"{found}; expected the same file: do not change it meanwhile")
            self._position += 1
            if self._position > first:
                yield frame


def measure_windows(
    path: Path, info: VideoInfo, detector: FaceDetector | None, config: ClipConfig, *, delay_s: float, min_side: float
) -> Iterator[RecordingWindow]:
    """Measures picture and sound of a recording.

    Args:
        path: of the recording.
        info: of `probe_video`.
        detector: of faces; None if the whole frame counts as the face.
        config: how often faces are looked for.
        delay_s: of `sound_delay_s`.
        min_side: smaller faces are ignored, pixels.

    Yields:
        windows of 10 minutes, the last one shorter.

    Raises:
        InputError: what `stream_video` and `stream_audio` raise.
    """
    sound, meter = SoundStream(path, delay_s), FrameMeter()
    changes: list[float] = []
    still: list[int] = []
    peaks: list[float] = []
    looks: list[FaceDetections] = []
    first = 0

    def window() -> RecordingWindow:
        return RecordingWindow(
            first,
            np.array(changes, np.float32),
            np.array(still, np.int32),
            np.array(peaks, np.float32),
            tuple(looks),
        )

    for number, frame in enumerate(FrameStream(path, info)):
        change, unmoved = meter.measure(frame)
        changes.append(change)
        still.append(min(unmoved, len(still)))  # a window begins anew
        heard = sound.take(SAMPLES_PER_FRAME)
        peaks.append(float(np.abs(heard).max()) if len(heard) == SAMPLES_PER_FRAME else np.nan)
        if (number - first) % config.look_frames == 0:
            height, width = frame.shape[:2]
            looks.append(
                FaceDetections.whole(number, width, height)
                if detector is None
                else FaceDetections.at(number, detector.detect(frame), min_side=min_side)
            )
        if len(changes) == WINDOW_S * FRAMES_PER_SECOND:
            yield window()
            first = number + 1
            changes, still, peaks, looks = [], [], [], []
    if changes:
        yield window()
