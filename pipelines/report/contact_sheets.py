"""Contact sheets: the face in a few frames of a video in a row, as one small picture."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from joyvasa.errors import InputError
from joyvasa.faces.detection import FaceDetector
from joyvasa.media.video_reader import probe_video, stream_video
from pipelines.report.rows import ProgressCallback, ignore_progress
from stages.media import local_file

MAX_ASPECT = 2.0  # maximum width over height of a frame; wider frames are squeezed
MAX_THREADS = 8  # each thread runs a decoder
SEARCH_HEIGHT = 360  # height of the decoded frames, in which the face is searched
FACE_MARGIN = 1.4  # side of the square over side of the face
FALLBACK_S = 4.0  # assumed length of a video whose row states none


@dataclass(frozen=True)
class SheetConfig:
    """The layout of contact sheets."""

    frames: int = 5  # number of frames per sheet
    height: int = 80  # height of a frame in pixels
    quality: int = 62  # JPEG quality
    max_s: float = 30.0  # maximum seconds decoded per video, over which the frames are spread
    # maximum seconds decoded of all videos together; with many videos each gets less than `max_s`
    total_s: float = 1000.0


@dataclass(frozen=True)
class VideoSource:
    """A video to show."""

    location: str  # absolute local path or URI
    duration_s: float | None  # duration; None if unknown


def make_contact_sheets(
    sources: Mapping[int, VideoSource],
    *,
    on_progress: ProgressCallback = ignore_progress,
) -> dict[int, bytes]:
    """Make contact sheets as JPEG files by the keys of the videos; unreadable videos are skipped."""
    config = SheetConfig()
    max_s = min(config.max_s, config.total_s / max(1, len(sources)))
    sheets: dict[int, bytes] = {}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        jobs = {key: pool.submit(make_contact_sheet, source, config, max_s=max_s) for key, source in sources.items()}
        for number, (key, job) in enumerate(jobs.items()):
            # A video that was removed or damaged meanwhile has no sheet; the page states that.
            with contextlib.suppress(InputError, OSError):
                sheets[key] = job.result()
            on_progress("contact sheets", number + 1, len(jobs))
    return sheets


def make_contact_sheet(source: VideoSource, config: SheetConfig, *, max_s: float) -> bytes:
    """Make the contact sheet of a video as a JPEG file.

    Args:
        source: video.
        config: layout of the sheet.
        max_s: maximum seconds decoded, from the start of the video.

    Raises:
        InputError: the video is missing or cannot be read.
        OSError: the video cannot be fetched.
    """
    from PIL import Image

    with local_file(source.location) as path:
        info = probe_video(path)
        height = max(2, min(SEARCH_HEIGHT, info.height))
        width = max(2, round(height * min(info.width / info.height, MAX_ASPECT)))
        length_s = min(source.duration_s or FALLBACK_S, max_s)
        rate = config.frames / max(length_s, 1 / float(info.frames_per_second))
        stream = stream_video(
            path,
            frames_per_second=min(rate, float(info.frames_per_second)),
            size=(width, height),
            batch_frames=1,
            info=info,
        )
        frames = [batch[0] for batch, _ in zip(stream, range(config.frames), strict=False)]

    left, top, right, bottom = _find_face_square(frames[0])
    size = (max(1, round(config.height * (right - left) / (bottom - top))), config.height)
    cropped = [Image.fromarray(frame[top:bottom, left:right]) for frame in frames]
    pictures = [np.asarray(picture.resize(size, Image.Resampling.LANCZOS)) for picture in cropped]
    sink = io.BytesIO()
    Image.fromarray(np.concatenate(pictures, axis=1)).save(sink, "JPEG", quality=config.quality, optimize=True)
    return sink.getvalue()


@cache
def _load_detector() -> FaceDetector:
    """Load the face detector, which all threads share, when the first sheet is made."""
    from joyvasa.bundles.detectors import load_people_detector

    return load_people_detector()


def _find_face_square(frame: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a square around the largest face; the whole frame if there is none.

    Args:
        frame: uint8 RGB (height, width, 3).
    """
    height, width = frame.shape[:2]
    faces = _load_detector().detect(frame)
    if not faces:
        return 0, 0, width, height
    face = max(faces, key=lambda face: face.side)
    side = int(min(FACE_MARGIN * face.side, width, height))
    center_x, center_y = (face.box[:2] + face.box[2:]) / 2
    left = int(np.clip(center_x - side / 2, 0, width - side))
    top = int(np.clip(center_y - side / 2, 0, height - side))
    return left, top, left + side, top + side
