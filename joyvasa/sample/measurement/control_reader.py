"""Readings of a face in the frames of a finished video, by M and by the teacher's networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_video
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.openings import COMPACT
from joyvasa.rendering.portrait import Picture
from joyvasa.sample.measurement.reader_response import ResponseCurve, measure_responses
from joyvasa.sample.measurement.subjects import FACE
from joyvasa.sample.measurement.tracks import mouth_gap, network_batches
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE, FaceMeshDetector
from joyvasa.sample.training.lids import LidReader
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.training_media import SIZE, reduce_crop

Array = np.ndarray


@dataclass(frozen=True)
class FaceReadings:
    """Readings of a face in T frames; those of the teacher are NaN where it finds no face."""

    crops: Array  # face crop of each frame, uint8 RGB (T, SIZE, SIZE, 3)
    yaw: Array  # head angle by M, degrees, (T,)
    pitch: Array  # head angle by M, degrees, (T,)
    roll: Array  # head angle by M, degrees, (T,)
    eyes: Array  # height over width of the right and the left eye by M, (T, 2)
    mouth: Array  # height over width of the mouth by M, (T,)
    teacher_mouth: Array  # gap between the lips by the face mesh, eye distances, (T,)
    teacher_eyes: Array  # height over width of the right and the left eye by the iris network, (T, 2)
    corners: Array  # height of the corners of the mouth above its middle by the face mesh, eye distances, (T,)
    width: Array  # width of the mouth by the face mesh, eye distances, (T,)
    brows: Array  # height of the brows above the eyes by the face mesh, eye distances, (T,)
    center: Array  # middle between the eyes by the face mesh, sides of the crop, (T, 2)
    eye_distance: Array  # distance between the eyes by the face mesh, sides of the crop, (T,)


class ControlReader:
    """Reads faces in videos.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self, extractor: CompactMotionExtractor) -> None:
        self._extractor, self._mesh, self._lids = extractor, FaceMeshDetector(), LidReader()

    def read(self, video: Path, picture: Picture, *, pasted: bool) -> FaceReadings:
        """Read the face of a video of a picture with the crop of the face.

        `pasted` states whether the video shows the picture; otherwise it shows the crop.
        """
        return self.read_crops(read_face_crops(video, picture, pasted=pasted))

    def read_crops(self, crops: Sequence[Image]) -> FaceReadings:
        """Read the face of consecutive crops, uint8 RGB (SIZE, SIZE, 3)."""
        meshes = [mesh for _, mesh in self._mesh.track(crops, FACE * SIZE)]
        by_teacher = [_read_mesh(mesh) for mesh in meshes]
        lids = [
            np.full(2, np.nan) if mesh is None else self._lids.read_openings(crop, mesh)
            for crop, mesh in zip(crops, meshes, strict=True)
        ]
        return FaceReadings(
            crops=np.stack(crops),
            **self._read_keypoints(crops),
            teacher_eyes=np.array(lids),
            **{name: np.array([entry[name] for entry in by_teacher]) for name in by_teacher[0]},
        )

    def measure_responses(self, picture: Picture) -> dict[str, ResponseCurve]:
        """Return how the readings of a portrait follow known motions; nothing without a face mesh."""
        face = reduce_face(picture)
        mesh = self._mesh.detect(face, FACE * SIZE)
        return {} if mesh is None else measure_responses(face, mesh, lambda crops: vars(self.read_crops(crops)))

    @torch.inference_mode()
    def _read_keypoints(self, crops: Sequence[Image]) -> dict[str, Array]:
        infos = [KeypointInfo.from_heads(self._extractor(batch)) for batch in network_batches(crops)]
        eyes, mouth = [], []
        for info in infos:
            points = info.canonical + info.expression @ info.rotation.transpose(1, 2)
            pairs = [points[:, below, 1] - points[:, above, 1] for above, below in (RIGHT_LIDS, LEFT_LIDS)]
            eyes.append(torch.stack(pairs, 1).numpy() * COMPACT.eye_slope)
            mouth.append(mouth_gap(info) * COMPACT.mouth_slope)
        angles = {name: torch.cat([getattr(info, name)[:, 0] for info in infos]).numpy() for name in ("yaw", "pitch")}
        roll = torch.cat([info.roll[:, 0] for info in infos]).numpy()
        return {**angles, "roll": roll, "eyes": np.concatenate(eyes), "mouth": np.concatenate(mouth)}


def read_face_crops(video: Path, picture: Picture, *, pasted: bool) -> list[Image]:
    """Return the face crops of a video, uint8 RGB (SIZE, SIZE, 3); arguments as for `ControlReader.read`."""
    frames = [frame for batch in stream_video(video) for frame in batch]
    matrix = np.eye(3) if not pasted or picture.crop is None else picture.crop.to_crop
    side = len(picture.crop.image) if pasted and picture.crop else frames[0].shape[0]
    crops = (cv2.warpAffine(frame, matrix[:2], (side, side), flags=cv2.INTER_LINEAR) for frame in frames)
    return [*map(reduce_crop, crops)]


def reduce_face(picture: Picture) -> Image:
    """Return the face crop of a picture, uint8 RGB (SIZE, SIZE, 3)."""
    return reduce_crop(picture.image if picture.crop is None else picture.crop.image)


def _read_mesh(mesh: Array | None) -> dict[str, Array | float]:
    names = ("teacher_mouth", "corners", "width", "brows", "eye_distance")
    if mesh is None:
        return {**dict.fromkeys(names, float("nan")), "center": np.full(2, np.nan)}
    points = load_mesh_points()
    right, left = mesh[RIGHT_EYE].mean(0), mesh[LEFT_EYE].mean(0)
    unit = float(np.linalg.norm(left - right))
    across = (left - right)[:2] / np.linalg.norm((left - right)[:2])
    down = np.array([-across[1], across[0]])

    corners = mesh[points.lips_upper[3, [0, 10]]]
    middle = mesh[[points.lips_upper[3, 5], points.lips_lower[3, 5]]].mean(0)
    brows = mesh[[int(points.right_brow), int(points.left_brow)]].mean(0)
    lips = mesh[[points.inner_upper_lip, points.inner_lower_lip]]
    return {
        "teacher_mouth": float(np.linalg.norm(lips[1] - lips[0])) / unit,
        "corners": float((middle - corners.mean(0))[:2] @ down) / unit,
        "width": float(np.linalg.norm(corners[1] - corners[0])) / unit,
        "brows": float(((right + left) / 2 - brows)[:2] @ down) / unit,
        "eye_distance": unit / SIZE,
        "center": (right + left)[:2] / 2 / SIZE,
    }
