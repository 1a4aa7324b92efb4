"""Portraits as the whole chain takes them: found by its detector, read by its motion extractor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from joyvasa.errors import InputError
from joyvasa.faces.geometry import FaceCrop
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image
from joyvasa.models import Models
from joyvasa.motion.keypoints import transform_keypoints
from joyvasa.rendering.portrait import Portrait
from joyvasa.sample.training.pictures import SIZE

FACE = np.array([0.25, 0.25, 0.75, 0.78])  # about where a crop has its face, in sides of it


@dataclass(frozen=True)
class Subject:
    """A portrait in which a face was found.

    Args:
        path: of the picture.
        portrait: feature and keypoints.
        crop: where its face is.
        keypoints: of M, as the portrait is, (1, 21, 3).
    """

    path: Path
    portrait: Portrait
    crop: FaceCrop
    keypoints: Tensor

    @property
    def name(self) -> str:
        """For rows and sheets."""
        return self.path.stem

    @property
    def face(self) -> Image:
        """The crop as the networks see it, uint8 (SIZE, SIZE, 3)."""
        return np.asarray(cv2.resize(self.crop.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)

    @property
    def box(self) -> np.ndarray:
        """About where the face is in the picture: left, top, right, bottom, pixels."""
        side = len(self.crop.image)
        corners = transform_points(FACE[[[0, 1], [2, 1], [2, 3], [0, 3]]] * side, self.crop.to_original)
        return np.concatenate([corners.min(0), corners.max(0)])


def find_subjects(models: Models, paths: Sequence[Path]) -> tuple[list[Subject], list[str]]:
    """Subjects, and the names of pictures in which no face was found.

    Args:
        models: of the bundle.
        paths: of pictures.
    """
    subjects, lost = [], []
    for path in paths:
        try:
            picture = models.read_picture(path)
        except InputError:
            lost.append(path.name)
            continue
        portrait = models.encoder.encode([picture])[0]
        assert picture.crop is not None  # the detector of the bundle cuts one
        subjects.append(Subject(path, portrait, picture.crop, transform_keypoints(portrait.keypoints)))
    return subjects, lost
