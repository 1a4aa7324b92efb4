"""Talking faces of real videos, cut out as `joyvasa prepare` cuts them, with what M and the teacher find in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from joyvasa.faces.detection import MIN_FACE_SIDE, FaceDetector
from joyvasa.faces.geometry import crop_square
from joyvasa.faces.square import Square
from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_video
from joyvasa.models import Models
from joyvasa.motion.keypoints import KeypointInfo, transform_keypoints
from joyvasa.rendering.renderer import to_network_input
from joyvasa.sample.measurement.subjects import FACE
from joyvasa.sample.measurement.watcher import Watcher
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP
from joyvasa.sample.training.face_mesh import box_of
from joyvasa.sample.training.pictures import SIZE
from joyvasa.training.tracking import Look, clip_square, follow_face

RATE, MAX_FRAMES = 12.5, 125  # of what is looked at: ten seconds
LOOK_FRAMES = 12  # between two searches for the face
CUT_SIZE = 512  # pixels of the crop, before it shrinks to what the networks take
BATCH = 16


@dataclass(frozen=True)
class Track:
    """A face; the frames in which the teacher sees it.

    Args:
        name: of the video.
        frames: uint8 (n, SIZE, SIZE, 3).
        meshes: of the teacher, (n, 468, 3), pixels of the frames.
        keypoints: of M, (n, 21, 3).
        gaps: between the lips, distances between the eyes, of M and of the teacher, (n,) each.
    """

    name: str
    frames: np.ndarray
    meshes: np.ndarray
    keypoints: Tensor
    gaps: tuple[np.ndarray, np.ndarray]


def read_track(path: Path, models: Models, watcher: Watcher) -> Track | None:
    """The face of a video; None where the detector or the teacher follows none.

    Args:
        path: of the video.
        models: whose detector and motion extractor look at it.
        watcher: the teacher.

    Raises:
        InputError: what `stream_video` raises.
    """
    assert models.detector is not None
    square = _square(path, models.detector)
    if square is None:
        return None
    frames, meshes = [], []
    last = box = FACE * CUT_SIZE
    for image in _frames(path):
        crop = crop_square(image, square, CUT_SIZE, landmarks=np.zeros((0, 2))).image
        points = watcher.find(crop, last, looks=2 if last is not box else 4)
        if points is None:
            last = box
            continue
        last = box_of(points)
        frames.append(np.asarray(cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8))
        meshes.append(points * (SIZE / CUT_SIZE))
    if len(frames) < RATE:
        return None
    infos = list(_extracted(models, frames))
    read = np.concatenate([mouth_gap(info) for info in infos])
    seen = np.array([watcher.head(mesh, SIZE).gap for mesh in meshes])
    points = torch.cat([transform_keypoints(info) for info in infos])
    return Track(path.name, np.stack(frames), np.stack(meshes), points, (read, seen))


def mouth_gap(info: KeypointInfo) -> np.ndarray:
    """Between the lips, in the head's frame, distances between the eyes, (n,)."""
    own = info.canonical + info.expression @ info.rotation.transpose(1, 2)
    return (own[:, INNER_LOWER_LIP, 1] - own[:, INNER_UPPER_LIP, 1]).cpu().numpy()


@torch.inference_mode()
def _extracted(models: Models, frames: list[np.ndarray]) -> Iterator[KeypointInfo]:
    extractor = models.network("motion_extractor")
    for start in range(0, len(frames), BATCH):
        batch = torch.cat([to_network_input(frame, SIZE) for frame in frames[start : start + BATCH]])
        yield KeypointInfo.from_heads(extractor(batch.to(models.device)))


def _square(path: Path, detector: FaceDetector) -> Square | None:
    looks = [
        Look.at(number, detector.detect(frame), min_side=MIN_FACE_SIDE)
        for number, frame in enumerate(_frames(path))
        if number % LOOK_FRAMES == 0
    ]
    return clip_square(follow_face(looks, max_gap=len(looks)))


def _frames(path: Path) -> Iterator[Image]:
    batches = stream_video(path, frames_per_second=RATE)
    return islice((frame for batch in batches for frame in batch), MAX_FRAMES)
