"""Detect animal faces with the cat cascade of OpenCV, without a download or restricted license."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.haar import CascadeHit, load_cascade, rgb_to_gray, search_cascade, shrink_to_side
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

# Positions in the box of haarcascade_frontalcatface_extended, in sides of the box: x from its center, y from its top.
# Measured in pictures of cats and dogs and rounded. Eyes have the same position in all of them; the nose is at 0.60 and
# the mouth at 0.74 in cats, at 0.75 and 0.95 in dogs with long muzzles, so positions below the eyes are means of both.
_EYE = (0.22, 0.42)
_EYE_HALF_WIDTH = 0.07
_NOSE_Y = 0.67
_MOUTH_CORNER = (0.13, 0.82)
_UPPER_LIP_Y = 0.79
_LOWER_LIP_Y = 0.87


@dataclass(frozen=True)
class AnimalCascadeConfig:
    """Options of the cascade.

    Args:
        working_side: side to which larger pictures are shrunk for the search, pixels.
        scale_step: ratio of successive window sizes.
        min_hits: minimum number of windows that agree on a face.
        min_fraction: smallest face, relative to the shorter side of the picture.
        rolls: roll angles of the head to try, degrees; positive is clockwise on screen.
    """

    working_side: int = 320
    scale_step: float = 1.05
    min_hits: int = 7
    min_fraction: float = 0.1
    rolls: tuple[float, ...] = (-21.0, -14.0, -7.0, 0.0, 7.0, 14.0, 21.0)


class AnimalCascadeDetector:
    """Detect frontal faces of cats, dogs and similar animals with `haarcascade_frontalcatface_extended`.

    The cascade was trained on cats and responds to two dark eyes above a nose. It yields position, size and roll of a
    face; the nine landmarks follow from the proportions of cats and dogs, so crops of other animals may be off. Long
    faces (horses, alpacas) may be detected too small: use a face crop and no detector for these.

    Calls from several threads run one at a time, because OpenCV's classifiers are not thread-safe.

    Args:
        config: options of the cascade.

    Raises:
        ModelError: OpenCV is installed without its cascades.
    """

    def __init__(self, config: AnimalCascadeConfig | None = None) -> None:
        self.config = config or AnimalCascadeConfig()
        self._cascade = load_cascade("haarcascade_frontalcatface_extended.xml")
        self._lock = threading.Lock()

    @classmethod
    def create(cls, source: DetectorSource) -> AnimalCascadeDetector:
        """Create the detector. `source` is not used, because OpenCV includes the cascades."""
        return cls()

    def detect(self, image: Image) -> list[Face]:
        """Detect faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces with nine landmarks, largest first; the score is the number of windows that agree.
        """
        gray, factor = shrink_to_side(rgb_to_gray(image), self.config.working_side)
        with self._lock:
            candidates = [face for roll in self.config.rolls for face in self._detect_rolled(gray, factor, roll)]
        return sort_faces(_remove_duplicates(candidates))

    def _detect_rolled(self, gray: Image, factor: float, roll: float) -> list[Face]:
        """Detect faces with a roll of about `roll` degrees; coordinates are pixels of the full-size picture."""
        height, width = gray.shape
        rotation = cv2.getRotationMatrix2D((width / 2, height / 2), roll, 1.0)
        rotated = cv2.warpAffine(gray, rotation, (width, height), borderMode=cv2.BORDER_REPLICATE) if roll else gray
        hits = search_cascade(
            self._cascade,
            np.asarray(rotated, dtype=np.uint8),
            scale_step=self.config.scale_step,
            min_neighbors=1,
            min_fraction=self.config.min_fraction,
        )
        inverse = np.asarray(cv2.invertAffineTransform(rotation), dtype=np.float64)
        return [_build_face(hit, inverse, factor) for hit in hits if hit.count >= self.config.min_hits]


def _build_face(hit: CascadeHit, inverse: FloatArray, factor: float) -> Face:
    """Build a face from its box and the proportions of a face; `inverse` undoes the rotation of the picture."""
    x, y = _EYE
    points = [
        (x + _EYE_HALF_WIDTH, y),
        (x - _EYE_HALF_WIDTH, y),
        (-x + _EYE_HALF_WIDTH, y),
        (-x - _EYE_HALF_WIDTH, y),
        (0.0, _NOSE_Y),
        _MOUTH_CORNER,
        (-_MOUTH_CORNER[0], _MOUTH_CORNER[1]),
        (0.0, _UPPER_LIP_Y),
        (0.0, _LOWER_LIP_Y),
    ]
    offsets = np.array([*points, (0.0, 0.5)])  # and the center of the box

    positions = np.array([hit.left + hit.side / 2, hit.top]) + hit.side * offsets
    positions = (positions @ inverse[:, :2].T + inverse[:, 2]) / factor
    half = hit.side / factor / 2
    box = np.concatenate([positions[-1] - half, positions[-1] + half]).astype(np.float32)
    return Face(box, float(hit.count), positions[:-1].astype(np.float32))


def _remove_duplicates(faces: list[Face]) -> list[Face]:
    """Keep the face with the highest score at each position."""
    distinct: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_are_apart(face, other) for other in distinct):
            distinct.append(face)
    return distinct


def _are_apart(face: Face, other: Face) -> bool:
    """Return whether neither face contains the center of the other."""
    distance = np.abs((face.box[:2] + face.box[2:]) - (other.box[:2] + other.box[2:])).max() / 2
    return bool(distance > max(face.side, other.side) / 2)
