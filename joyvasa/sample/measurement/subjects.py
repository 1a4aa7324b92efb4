"""Portraits as the whole chain processes them: with the bundle's own detector and motion extractor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from joyvasa.errors import InputError
from joyvasa.faces.geometry import FaceCrop
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image
from joyvasa.models import Models
from joyvasa.motion.keypoints import transform_keypoints
from joyvasa.rendering.portrait import Portrait
from joyvasa.sample.training.training_media import SIZE, reduce_crop

FACE = np.array([0.25, 0.25, 0.75, 0.78])  # approximate box of the face in a crop, in sides of the crop


@dataclass(frozen=True)
class Subject:
    """A portrait in which a face was detected."""

    path: Path  # path of the picture
    portrait: Portrait  # feature and keypoints
    crop: FaceCrop  # crop around the face
    keypoints: Tensor  # keypoints by M, (1, 21, 3)

    @property
    def name(self) -> str:
        """Name in rows and sheets."""
        return self.path.stem

    @property
    def face(self) -> Image:
        """Input of the networks, uint8 (SIZE, SIZE, 3)."""
        return reduce_crop(self.crop.image)

    @property
    def box(self) -> np.ndarray:
        """Approximate box of the face in the picture: left, top, right, bottom in pixels."""
        side = len(self.crop.image)
        corners = transform_points(FACE[[[0, 1], [2, 1], [2, 3], [0, 3]]] * side, self.crop.to_original)
        return np.concatenate([corners.min(0), corners.max(0)])


def find_subjects(models: Models, paths: Sequence[Path]) -> tuple[list[Subject], list[str]]:
    """Return the subjects, and the names of pictures in which no face was detected."""
    subjects, rejected = [], []
    for path in paths:
        try:
            picture = models.read_picture(path)
        except InputError:
            rejected.append(path.name)
            continue
        portrait = models.encoder.encode([picture])[0]
        assert picture.crop is not None  # the bundle has a detector
        subjects.append(Subject(path, portrait, picture.crop, transform_keypoints(portrait.keypoints)))
    return subjects, rejected


def face_slices(points: np.ndarray, margin: float) -> tuple[slice, slice]:
    """Return the rows and columns of a face crop that enclose points.

    Args:
        points: shape (n, 2 or more), x and y in pixels.
        margin: margin on each side, in sides of the bounding box.
    """
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    left, top = np.floor((low - margin * (high - low)).clip(0, SIZE)).astype(int)
    right, bottom = np.ceil((high + margin * (high - low)).clip(0, SIZE)).astype(int)
    return slice(top, bottom), slice(left, right)
