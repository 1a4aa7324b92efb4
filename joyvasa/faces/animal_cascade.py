"""Animals' faces by the cat cascade that OpenCV ships: no download, no restricted license."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.haar import CascadeHit, load_cascade, search_cascade, shrink_to_side, to_grayscale
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

# Places inside the box of haarcascade_frontalcatface_extended, in sides of the box: x from its middle, y from its
# top. Read off the faces of cats and dogs and rounded. Eyes lie alike in all of them; a nose lies at 0.60 and a mouth
# at 0.74 in a cat, at 0.75 and 0.95 in a dog with a long muzzle, so what is below the eyes is a mean of both.
_EYE = (0.22, 0.42)
_EYE_HALF_WIDTH = 0.07
_NOSE_Y = 0.67
_MOUTH_CORNER = (0.13, 0.82)
_UPPER_LIP_Y = 0.79
_LOWER_LIP_Y = 0.87


@dataclass(frozen=True)
class AnimalCascadeConfig:
    """How the cascade searches.

    Args:
        working_side: larger pictures are shrunk to this side for the search, pixels.
        scale_step: ratio of successive window sizes.
        min_hits: windows that must agree on a face.
        min_fraction: smallest face, relative to the picture's shorter side.
        rolls: tilts of the head that are tried, degrees; positive is clockwise on screen.
    """

    working_side: int = 320
    scale_step: float = 1.05
    min_hits: int = 7
    min_fraction: float = 0.1
    rolls: tuple[float, ...] = (-21.0, -14.0, -7.0, 0.0, 7.0, 14.0, 21.0)


class AnimalCascadeDetector:
    """Frontal faces of cats, dogs and animals like them by `haarcascade_frontalcatface_extended`.

    It was trained with cats, and finds what has two dark eyes above a nose. Of a face it knows place, size and tilt;
    the nine landmarks follow from proportions, so a crop fits as far as the animal is built like these.
    A long face (a horse, an alpaca) may be found too small: then give a face crop and no detector.
    OpenCV's classifiers keep scratch state: one detector serves one call at a time and makes other threads wait.

    Args:
        config: how to search.

    Raises:
        ModelError: this OpenCV comes without its cascades.
    """

    def __init__(self, config: AnimalCascadeConfig | None = None) -> None:
        self.config = config or AnimalCascadeConfig()
        self._cascade = load_cascade("haarcascade_frontalcatface_extended.xml")
        self._lock = threading.Lock()

    @classmethod
    def create(cls, source: DetectorSource) -> AnimalCascadeDetector:
        """Create the detector; OpenCV brings the cascades, so nothing of `source` is used."""
        return cls()

    def detect(self, image: Image) -> list[Face]:
        """Finds faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces with nine landmarks, largest first; their score is the number of windows that agree.
        """
        gray, factor = shrink_to_side(to_grayscale(image), self.config.working_side)
        with self._lock:
            found = [face for roll in self.config.rolls for face in self._find(gray, factor, roll)]
        return sort_faces(_distinct(found))

    def _find(self, gray: Image, factor: float, roll: float) -> list[Face]:
        """Faces tilted by about `roll`, in pixels of the whole picture."""
        height, width = gray.shape
        upright = cv2.getRotationMatrix2D((width / 2, height / 2), roll, 1.0)
        turned = cv2.warpAffine(gray, upright, (width, height), borderMode=cv2.BORDER_REPLICATE) if roll else gray
        hits = search_cascade(
            self._cascade,
            np.asarray(turned, dtype=np.uint8),
            scale_step=self.config.scale_step,
            min_neighbors=1,
            min_fraction=self.config.min_fraction,
        )
        back = np.asarray(cv2.invertAffineTransform(upright), dtype=np.float64)
        return [_face(hit, back, factor) for hit in hits if hit.count >= self.config.min_hits]


def _face(hit: CascadeHit, back: FloatArray, factor: float) -> Face:
    """A face of which only the box is known, completed by the proportions of a face."""
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
    offsets = np.array([*points, (0.0, 0.5)])  # and the middle of the box
    placed = np.array([hit.left + hit.side / 2, hit.top]) + hit.side * offsets
    placed = (placed @ back[:, :2].T + back[:, 2]) / factor
    half = hit.side / factor / 2
    box = np.concatenate([placed[-1] - half, placed[-1] + half]).astype(np.float32)
    return Face(box, float(hit.count), placed[:-1].astype(np.float32))


def _distinct(faces: list[Face]) -> list[Face]:
    """The surest of all faces at one place."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_apart(face, other) for other in kept):
            kept.append(face)
    return kept


def _apart(face: Face, other: Face) -> bool:
    """Whether neither face lies around the other's middle."""
    between = np.abs((face.box[:2] + face.box[2:]) - (other.box[:2] + other.box[2:])).max() / 2
    return bool(between > max(face.side, other.side) / 2)
