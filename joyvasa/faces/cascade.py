"""Faces by the cascades that OpenCV ships: no download, no restricted license, people looking at the camera."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.haar import load_cascade, search_cascade, shrink_to_side, to_grayscale
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

# Proportions of the face inside the box of haarcascade_frontalface_alt2, in sides of the box.
_EYES_Y = 0.40
_EYES_TO_MOUTH = 0.42
_EYE_DISTANCE = 0.40

# Where eyes are looked for and what makes a plausible pair, in sides of the box.
_EYE_SIDE = 200  # pixels that the box is resized to for the eye cascades
_EYE_ROWS = (0.20, 0.58)
_EYE_WINDOWS = ((0.08, 0.52), (0.48, 0.92))
_EYE_DISTANCES = (0.28, 0.55)
_EYE_SLOPE = 0.45  # of the line through both, about 24 degrees

# The outline from the brows to the chin, as landmark layouts span it. From averages of adult faces (Farkas,
# Anthropometry of the Head and Face): pupils 63 mm apart, mouth 67 mm below them, brows 25 mm above them, chin
# 45 mm below the mouth, face 137 mm wide.
_BROWS_ABOVE_EYES = 25 / 67  # in distances from the eyes to the mouth
_CHIN_BELOW_EYES = (67 + 45) / 67
_HALF_WIDTH = 137 / 63 / 2  # in distances of the eyes
_MOUTH_HALF_WIDTH = 0.38  # in distances of the eyes
_NOSE = 0.6  # of the way from the eyes to the mouth


@dataclass(frozen=True)
class CascadeConfig:
    """How the cascades search.

    Args:
        working_side: larger pictures are shrunk to this side for the search, pixels.
        scale_step: ratio of successive window sizes.
        min_neighbors: raw hits that a face must have beyond one.
        min_fraction: smallest face, relative to the picture's shorter side.
        weak_margin: a face whose score is this much below the picture's best only counts if its eyes are found.
    """

    working_side: int = 800
    scale_step: float = 1.1
    min_neighbors: int = 4
    min_fraction: float = 0.05
    weak_margin: float = 1.0


class CascadeDetector:
    """Frontal faces by `haarcascade_frontalface_alt2`, their eyes by two eye cascades where these find a pair.

    Finds faces turned by up to about 15 degrees. The eyes refine position and roll; the rest of the five landmarks
    and the outline follow from the proportions of a face. A face that the picture's edge cuts is not found.
    OpenCV's classifiers keep scratch state: one detector serves one call at a time and makes other threads wait.

    Args:
        config: how to search.

    Raises:
        ModelError: this OpenCV comes without its cascades.
    """

    def __init__(self, config: CascadeConfig | None = None) -> None:
        self.config = config or CascadeConfig()
        self._faces = load_cascade("haarcascade_frontalface_alt2.xml")
        self._eyes = [load_cascade("haarcascade_eye.xml"), load_cascade("haarcascade_eye_tree_eyeglasses.xml")]
        self._lock = threading.Lock()

    @classmethod
    def create(cls, source: DetectorSource) -> CascadeDetector:
        """Create the detector; OpenCV brings the cascades, so nothing of `source` is used."""
        return cls()

    def detect(self, image: Image) -> list[Face]:
        """Finds faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces, largest first; their score is the last stage's sum of the cascade, higher is surer.
        """
        gray = to_grayscale(image)
        with self._lock:
            found = self._find(gray)
            best = max((score for _, score in found), default=0.0)
            faces = []
            for box, score in found:
                eyes = self._find_eyes(gray, box)
                if eyes is not None or score >= best - self.config.weak_margin:
                    faces.append(_face(box, score, eyes))
        return sort_faces(faces)

    def _find(self, gray: Image) -> list[tuple[FloatArray, float]]:
        """Boxes (left, top, side) and scores."""
        config = self.config
        shrunk, factor = shrink_to_side(gray, config.working_side)
        hits = search_cascade(
            self._faces,
            shrunk,
            scale_step=config.scale_step,
            min_neighbors=config.min_neighbors,
            min_fraction=config.min_fraction,
        )
        return [(np.array([hit.left, hit.top, hit.side], np.float32) / factor, hit.score) for hit in hits]

    def _find_eyes(self, gray: Image, box: FloatArray) -> FloatArray | None:
        """The centers of both eyes, float32 (2, 2), or None."""
        left, top, side = box
        rows = slice(max(0, round(float(top))), round(float(top + side)))
        columns = slice(max(0, round(float(left))), round(float(left + side)))
        face = cv2.resize(gray[rows, columns], (_EYE_SIDE, _EYE_SIDE), interpolation=cv2.INTER_AREA)
        eyes = [self._find_eye(np.asarray(face, dtype=np.uint8), half) for half in _EYE_WINDOWS]
        pair = np.stack([eye for eye in eyes if eye is not None] or [np.zeros(2)])
        if len(pair) < 2:
            return None
        across = pair[1] - pair[0]
        level = abs(across[1]) <= _EYE_SLOPE * across[0]
        if not (level and _EYE_DISTANCES[0] <= across[0] <= _EYE_DISTANCES[1]):
            return None
        return (pair * side + [left, top]).astype(np.float32)

    def _find_eye(self, face: Image, half: tuple[float, float]) -> FloatArray | None:
        """The center of one eye in sides of the face."""
        top, bottom = (int(row * _EYE_SIDE) for row in _EYE_ROWS)
        left, right = (int(column * _EYE_SIDE) for column in half)
        window = face[top:bottom, left:right]
        for cascade in self._eyes:
            hits, _, weights = cascade.detectMultiScale3(
                window, 1.05, 3, 0, (_EYE_SIDE // 7,) * 2, (_EYE_SIDE * 2 // 5,) * 2, outputRejectLevels=True
            )
            if len(hits):
                x, y, width, height = hits[int(np.argmax(weights))]
                return np.array([left + x + width / 2, top + y + height / 2], dtype=np.float32) / _EYE_SIDE
        return None


def face_from_eyes_and_mouth(
    left_eye: FloatArray, right_eye: FloatArray, mouth: FloatArray, *, box: FloatArray, score: float
) -> Face:
    """A face of which only the eyes and the mouth are known, completed by the proportions of a face.

    Args:
        left_eye: (2,), the eye at the picture's left.
        right_eye: (2,).
        mouth: (2,), its center.
        box: left, top, right, bottom.
        score: of the detector.

    Returns:
        A face with five landmarks and the outline from the brows to the chin.
    """
    eyes = (left_eye + right_eye) / 2
    down = mouth - eyes
    right = np.array([down[1], -down[0]]) / np.linalg.norm(down) * np.linalg.norm(right_eye - left_eye)
    corner = _MOUTH_HALF_WIDTH * right
    points = [left_eye, right_eye, eyes + _NOSE * down, mouth - corner, mouth + corner]
    landmarks = np.stack(points).astype(np.float32)
    outline = [
        eyes + side * _HALF_WIDTH * right + height * down
        for side in (-1, 1)
        for height in (-_BROWS_ABOVE_EYES, _CHIN_BELOW_EYES)
    ]
    extent = np.stack(outline).astype(np.float32)
    return Face(np.asarray(box, np.float32), score, landmarks, landmarks5=landmarks, extent=extent)


def _face(box: FloatArray, score: float, eyes: FloatArray | None) -> Face:
    left, top, side = box
    if eyes is None:
        middle = np.array([left + side / 2, top + _EYES_Y * side])
        half = np.array([_EYE_DISTANCE / 2 * side, 0])
        eyes = np.stack([middle - half, middle + half]).astype(np.float32)
    across = eyes[1] - eyes[0]
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    mouth = eyes.mean(axis=0) + _EYES_TO_MOUTH * side * down
    corners = np.array([left, top, left + side, top + side])
    return face_from_eyes_and_mouth(eyes[0], eyes[1], mouth, box=corners, score=score)
