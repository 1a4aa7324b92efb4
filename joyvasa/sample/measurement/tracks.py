"""Talking faces of real videos, cropped as by `joyvasa prepare`, with readings of M and of the teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from joyvasa.faces.detection import MIN_FACE_SIDE, FaceDetector
from joyvasa.faces.geometry import crop_square
from joyvasa.faces.square import Square
from joyvasa.faces.tracking import FaceDetections, average_clip_square, track_face
from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_frames
from joyvasa.models import Models
from joyvasa.motion.keypoints import KeypointInfo, transform_keypoints
from joyvasa.networks.pictures import to_network_input
from joyvasa.sample.measurement.face_reader import FaceReader
from joyvasa.sample.measurement.subjects import FACE
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP
from joyvasa.sample.training.training_media import SIZE, reduce_crop

RATE, MAX_FRAMES = 12.5, 125  # frames per second and number of frames that are read: ten seconds
DETECTION_FRAMES = 12  # frames between two face detections
CROP_SIZE = 512  # pixels of the crop, before it is reduced to the size of the networks
BATCH = 16


@dataclass(frozen=True)
class Track:
    """One face in the frames in which the teacher finds it."""

    name: str  # name of the video
    frames: np.ndarray  # uint8 (n, SIZE, SIZE, 3)
    meshes: np.ndarray  # face meshes of the teacher, (n, 468, 3), pixels of the frames
    keypoints: Tensor  # keypoints of M, (n, 21, 3)
    gaps: tuple[np.ndarray, np.ndarray]  # gap between the lips in eye distances, by M and by the teacher, (n,) each


def read_track(path: Path, models: Models, reader: FaceReader) -> Track | None:
    """Return the face of a video; None if the detector or the teacher does not find one throughout.

    Raises:
        InputError: see `stream_frames`.
    """
    assert models.detector is not None
    square = _find_square(path, models.detector)
    if square is None:
        return None

    frames, meshes = [], []
    crops = (crop_square(image, square, CROP_SIZE, landmarks=np.zeros((0, 2))).image for image in _frames(path))
    for crop, points in reader.mesh.track(crops, FACE * CROP_SIZE):
        if points is not None:
            frames.append(reduce_crop(crop))
            meshes.append(points * (SIZE / CROP_SIZE))
    if len(frames) < RATE:
        return None

    infos = list(_extract_keypoints(models, frames))
    gaps = np.concatenate([mouth_gap(info) for info in infos])
    teacher_gaps = np.array([reader.build_head(mesh, SIZE).gap for mesh in meshes])
    keypoints = torch.cat([transform_keypoints(info) for info in infos])
    return Track(path.name, np.stack(frames), np.stack(meshes), keypoints, (gaps, teacher_gaps))


def mouth_gap(info: KeypointInfo) -> np.ndarray:
    """Return the gap between the lips in the frame of the head, in eye distances, (n,)."""
    points = info.canonical + info.expression @ info.rotation.transpose(1, 2)
    return (points[:, INNER_LOWER_LIP, 1] - points[:, INNER_UPPER_LIP, 1]).cpu().numpy()


def network_batches(crops: Sequence[Image]) -> Iterator[Tensor]:
    """Yield face crops, uint8 RGB (SIZE, SIZE, 3), as input of the networks, at most `BATCH` at once."""
    for start in range(0, len(crops), BATCH):
        yield torch.cat([to_network_input(crop, SIZE) for crop in crops[start : start + BATCH]])


@torch.inference_mode()
def _extract_keypoints(models: Models, frames: list[np.ndarray]) -> Iterator[KeypointInfo]:
    extractor = models.network("motion_extractor")
    for batch in network_batches(frames):
        yield KeypointInfo.from_heads(extractor(batch.to(models.device)))


def _find_square(path: Path, detector: FaceDetector) -> Square | None:
    detections = [
        FaceDetections.from_faces(number, detector.detect(frame), min_side=MIN_FACE_SIDE)
        for number, frame in enumerate(_frames(path))
        if number % DETECTION_FRAMES == 0
    ]
    return average_clip_square(track_face(detections, max_gap=len(detections)))


def _frames(path: Path) -> Iterator[Image]:
    return islice(stream_frames(path, frames_per_second=RATE), MAX_FRAMES)
