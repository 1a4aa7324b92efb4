"""Small recordings of a moving face, and recordings with faults."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from joyvasa.media.image import read_image
from joyvasa.media.video_writer import EncodingConfig
from tests.media import EXAMPLES, ffmpeg, write_tone, write_video

SIDE = 240


@cache
def portrait(name: str = "portrait.jpg") -> np.ndarray:
    return cv2.resize(read_image(EXAMPLES / name), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def talking(n_frames: int, *, phase: float = 0.0) -> np.ndarray:
    """Return frames of a swaying face, uint8 (n_frames, 240, 240, 3)."""
    frames = []
    for at in range(n_frames):
        shift = 4 * np.sin(at / 6 + phase), 3 * np.cos(at / 5 + phase)
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        frames.append(cv2.warpAffine(portrait(), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames)


def empty(n_frames: int) -> np.ndarray:
    """Return frames of a moving, colorful pattern without a face."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return np.stack([np.stack([(columns + 3 * at) % 256, rows, 255 - rows], -1) for at in range(n_frames)]).astype(
        np.uint8
    )


def recording(
    path: Path, frames: np.ndarray, *, volume: float = 0.5, sound_s: float | None = None, rate: float = 25.0
) -> Path:
    """Write a video with a tone, which may end before the picture."""
    picture, wav = path.with_suffix(".silent.mp4"), path.with_suffix(".wav")
    # High quality: at a lower one, a still picture sharpens over some frames, close to the threshold of the detector.
    write_video(picture, frames, rate=rate, config=EncodingConfig(crf=8))
    write_tone(wav, seconds=len(frames) / rate if sound_s is None else sound_s, volume=volume)
    ffmpeg("-i", picture, "-i", wav, "-c:v", "copy", "-c:a", "aac", path)
    picture.unlink()
    wav.unlink()
    return path


def planted(folder: Path) -> dict[str, str | None]:
    """Write recordings of three seconds; return why each one has no clip of two seconds, None for good ones."""
    face = talking(75)
    pair = np.concatenate([face[:, :, 20:220], face[:, :, 20:220]], axis=2)
    recording(folder / "good.mp4", face)
    recording(folder / "other.mp4", talking(75, phase=2))
    recording(folder / "frozen.mp4", np.repeat(face[:1], 75, axis=0))
    recording(folder / "silent.mp4", face, volume=0)
    recording(folder / "cut.mp4", np.concatenate([face[:38], 255 - face[38:]]))
    recording(folder / "two.mp4", pair)
    recording(folder / "short.mp4", face[:40])
    recording(folder / "quiet_end.mp4", face, sound_s=1.2)
    recording(folder / "no_face.mp4", empty(75))
    write_video(folder / "mute.mp4", face)
    (folder / "broken.mp4").write_bytes((folder / "good.mp4").read_bytes()[:2000])
    (folder / "text.mp4").write_text("no video")
    (folder / "nothing.mp4").touch()
    return {
        "good.mp4": None,
        "other.mp4": None,
        "frozen.mp4": "frozen",
        "silent.mp4": "silent",
        "cut.mp4": "clip_cut",
        "two.mp4": "several_faces",
        "short.mp4": "too_short",
        "quiet_end.mp4": "sound_shorter",
        "no_face.mp4": "face_lost",
        "mute.mp4": "sound_missing",
        "broken.mp4": "video_unreadable",
        "text.mp4": "video_unreadable",
        "nothing.mp4": "video_empty",
    }
