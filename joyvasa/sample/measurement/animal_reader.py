"""Readings of an animal's face in the frames of a finished video, by the landmarks of the compact networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from joyvasa.media.image import Image
from joyvasa.rendering.portrait import Picture
from joyvasa.sample.measurement.animals import read_openings
from joyvasa.sample.measurement.control_reader import read_face_crops, reduce_face
from joyvasa.sample.measurement.tracks import network_batches
from joyvasa.sample.networks.animal_motion_extractor import (
    CROP_EYES_AT,
    CROP_UNIT,
    DEPTHS,
    AnimalMotionExtractor,
    middle_of_eyes,
    read_landmarks,
    to_keypoints,
)
from joyvasa.sample.networks.points import LEFT_LIDS, NOSE_BRIDGE, NOSE_TIP, RIGHT_LIDS
from joyvasa.sample.training.training_media import SIZE

Array = np.ndarray

# Depth of the nose before the eyes, in units. The bridge of the nose is read between the eyes, at their depth of 0.
NOSE_BEFORE_EYES = -DEPTHS[NOSE_TIP]


@dataclass(frozen=True)
class AnimalReadings:
    """Readings of an animal in T frames."""

    crops: Array  # face crop of each frame, uint8 RGB (T, SIZE, SIZE, 3)
    yaw: Array  # turn of the head by the place of the nose between the eyes, degrees, (T,)
    pitch: Array  # nod since the picture by the place of the nose below the eyes, degrees, (T,)
    roll: Array  # tilt of the head by the line between the eyes, degrees, (T,)
    mouth: Array  # how far the jaw is below its place in the picture, units of the face, (T,)
    eyes: Array  # zeros, as no control moves the eyes of animals, (T, 2)
    center: Array  # middle between the eyes, sides of the crop, (T, 2)
    unit: Array  # unit of the face, sides of the crop, (T,)


class AnimalReader:
    """Reads animals in videos."""

    def __init__(self, extractor: AnimalMotionExtractor) -> None:
        self._extractor = extractor

    def read(self, video: Path, picture: Picture, *, pasted: bool) -> AnimalReadings:
        """Read the face of a video; arguments as for `ControlReader.read`."""
        crops = read_face_crops(video, picture, pasted=pasted)
        still = reduce_face(picture)
        landmarks = self._find_landmarks([still, *crops])
        points, unit = (part.numpy() for part in to_keypoints(landmarks, self._extractor.depths))
        nods, landmarks = estimate_nods(points, unit[0, 0]), landmarks[1:]
        in_picture, points, unit = (points[0, :, :2] + 1) * SIZE / 2 - 0.5, points[1:], unit[1:]
        return AnimalReadings(
            crops=np.stack(crops),
            yaw=estimate_turn(points, unit[:, 0]),
            pitch=nods[1:],
            roll=estimate_tilt(points),
            mouth=read_openings(in_picture, [still, *crops])[1:],
            eyes=np.zeros((len(crops), 2)),
            center=(middle_of_eyes(landmarks).numpy() + 1) / 2,
            unit=unit[:, 0] / 2,
        )

    @torch.inference_mode()
    def _find_landmarks(self, crops: list[Image]) -> torch.Tensor:
        found = []
        for image in network_batches(crops):
            eyes = (torch.tensor(CROP_EYES_AT) * 2 - 1).expand(len(image), 2)
            down = torch.tensor([0.0, 2 * CROP_UNIT]).expand(len(image), 2)
            found.append(read_landmarks(self._extractor.landmarks, image, eyes, down))
        return torch.cat(found)


def estimate_turn(points: Array, unit: Array) -> Array:
    """Return the turn of heads by the place of the nose between the eyes, degrees, (T,); positive as `pose.yaw`.

    Args:
        points: keypoints, (T, 21, 3).
        unit: unit of the face, in the unit of the keypoints, (T,).
    """
    aside = (points[:, NOSE_TIP, 0] - points[:, NOSE_BRIDGE, 0]) / unit / NOSE_BEFORE_EYES
    return -np.degrees(np.arcsin(aside.clip(-1, 1)))


def estimate_nods(points: Array, unit: float) -> Array:
    """Return the nods of heads since the first one by the place of the nose below the eyes, degrees, (T,).

    Arguments as for `estimate_turn`, with the unit of the first face; positive as `pose.pitch`.
    """
    below = (points[:, NOSE_TIP, 1] - points[:, NOSE_BRIDGE, 1]) / unit
    angles = np.arcsin((below / np.hypot(below[0], NOSE_BEFORE_EYES)).clip(-1, 1))
    return np.degrees(angles - angles[0])


def estimate_tilt(points: Array) -> Array:
    """Return the tilts of heads, (T, 21, 3), by the line between their eyes, degrees, (T,); positive as `pose.roll`."""
    across = points[:, list(LEFT_LIDS), :2].mean(1) - points[:, list(RIGHT_LIDS), :2].mean(1)
    return np.degrees(np.arctan2(across[:, 1], across[:, 0]))
