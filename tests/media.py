"""Sample media for tests: real files of `tests/data/media`, and small ones made with ffmpeg."""

from __future__ import annotations

import contextlib
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.media.video_writer import VideoWriter
from tests.joyvasa.metrics.clips import moving_noise

DATA = Path(__file__).parent / "data"
MEDIA = DATA / "media"
# Larger sets, which the repository does not hold: `../shared/media`, or the folder in JOYVASA_SHARED.
MORE_MEDIA = Path(os.environ.get("JOYVASA_SHARED") or Path(__file__).parents[2] / "shared") / "media"
needs_more_media = pytest.mark.skipif(not MORE_MEDIA.is_dir(), reason=f"sample media not found at {MORE_MEDIA}")
EXAMPLES = Path(__file__).parents[1] / "manifests/examples"


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg quietly, to create test files."""
    subprocess.run([ffmpeg_executable(), "-y", "-v", "error", *map(str, arguments)], check=True)


def write_tone(path: Path, *, seconds: float = 1.0, volume: float = 0.5, rate: int = 16_000, channels: int = 1) -> Path:
    """Write a sine of 220 Hz in the format of the file's suffix."""
    source = (
        f"sine=frequency=220:sample_rate={rate}:duration={seconds},volume={volume * 8}"  # ffmpeg's sine peaks at 1/8
    )
    ffmpeg("-f", "lavfi", "-i", source, "-ac", channels, path)
    return path


def fill_disk(folder: Path) -> None:
    """Fill the file system of a folder."""
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def read_frames(path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1][..., ::-1])
    capture.release()
    return np.stack(frames)


@contextmanager
def small_disk(folder: Path, *options: str):
    """Mount a file system of one megabyte."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(["size=1m", *options]), "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


NOISE_FRAMES = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in moving_noise(30, height=64, width=96)])
_FACE = cv2.resize(cv2.imread(str(EXAMPLES / "portrait.jpg"))[..., ::-1], (128, 128), interpolation=cv2.INTER_AREA)
# A face that moves sideways: found by the first search, while noise is searched again and again.
FACE_FRAMES = np.stack([np.roll(_FACE, k % 5, axis=1) for k in range(30)])


def write_video(path, frames=NOISE_FRAMES, rate=25.0, sound=None, config=None):
    height, width = frames.shape[1:3]
    size = {"width": width, "height": height, "frames_per_second": rate, "n_frames": len(frames)}
    with VideoWriter(path, sound=sound, config=config, **size) as writer:
        writer.write(frames)
    return path
