"""Detect frontal faces of people with the cascades of OpenCV, without a download or restricted license."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.faces.detection import Face, FaceDetector, sort_faces
from joyvasa.faces.haar import load_cascade, rgb_to_gray, search_cascade, shrink_to_side
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

# Proportions of the face inside the box of haarcascade_frontalface_alt2, in sides of the box.
_EYES_Y = 0.40
_EYES_TO_MOUTH = 0.42
_EYE_DISTANCE = 0.40

# Search windows of the eyes and limits of a plausible pair, in sides of the box.
_EYE_SIDE = 200  # size to which the box is resized for the eye cascades, pixels
_EYE_ROWS = (0.20, 0.58)
_EYE_WINDOWS = ((0.08, 0.52), (0.48, 0.92))
_EYE_DISTANCES = (0.28, 0.55)
_EYE_SLOPE = 0.45  # slope of the line through both eyes, about 24 degrees

# Outline from the brows to the chin, the extent of landmark layouts. From averages of adult faces (Farkas,
# Anthropometry of the Head and Face): pupils 63 mm apart, mouth 67 mm below them, brows 25 mm above them, chin
# 45 mm below the mouth, face 137 mm wide.
_BROWS_ABOVE_EYES = 25 / 67  # in distances from eyes to mouth
_CHIN_BELOW_EYES = (67 + 45) / 67
_HALF_WIDTH = 137 / 63 / 2  # in distances between the eyes
_MOUTH_HALF_WIDTH = 0.38  # in distances between the eyes
_NOSE = 0.6  # fraction of the way from eyes to mouth


@dataclass(frozen=True)
class CascadeConfig:
    """Options of the cascades.

    Args:
        working_side: side to which larger pictures are shrunk for the search, pixels.
        scale_step: ratio of successive window sizes.
        min_neighbors: minimum number of overlapping raw hits of a face, besides the first.
        min_fraction: smallest face, relative to the shorter side of the picture.
        weak_margin: faces whose score is lower than the best score by more than this need a detected pair of eyes.
    """

    working_side: int = 800
    scale_step: float = 1.1
    min_neighbors: int = 4
    min_fraction: float = 0.05
    weak_margin: float = 1.0


class CascadeDetector:
    """Detect frontal faces with `haarcascade_frontalface_alt2` and refine them with two eye cascades.

    Detects faces turned by up to about 15 degrees. The eyes refine position and roll; the other landmarks and the
    outline follow from the proportions of a face. Faces cut by the border of the picture are not detected.

    Calls from several threads run one at a time, because OpenCV's classifiers are not thread-safe.

    Args:
        config: options of the cascades.

    Raises:
        ModelError: OpenCV is installed without its cascades.
    """

    def __init__(self, config: CascadeConfig | None = None) -> None:
        self.config = config or CascadeConfig()
        self._faces = load_cascade("haarcascade_frontalface_alt2.xml")
        self._eyes = [load_cascade("haarcascade_eye.xml"), load_cascade("haarcascade_eye_tree_eyeglasses.xml")]
        self._lock = threading.Lock()

    @classmethod
    def create(cls, source: DetectorSource) -> CascadeDetector:
        """Create the detector. `source` is not used, because OpenCV includes the cascades."""
        return cls()

    def detect(self, image: Image) -> list[Face]:
        """Detect faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces, largest first; the score is the sum of the last stage of the cascade, higher is more certain.
        """
        gray = rgb_to_gray(image)
        with self._lock:
            candidates = self._detect_boxes(gray)
            best = max((score for _, score in candidates), default=0.0)
            faces = []
            for box, score in candidates:
                eyes = self._find_eyes(gray, box)
                if eyes is not None or score >= best - self.config.weak_margin:
                    faces.append(_build_face(box, score, eyes))
        return sort_faces(faces)

    def _detect_boxes(self, gray: Image) -> list[tuple[FloatArray, float]]:
        """Return boxes (left, top, side) and scores."""
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
        """Find the centers of both eyes in a box; float32 (2, 2), or None."""
        left, top, side = box
        rows = slice(max(0, round(float(top))), round(float(top + side)))
        columns = slice(max(0, round(float(left))), round(float(left + side)))
        face = cv2.resize(gray[rows, columns], (_EYE_SIDE, _EYE_SIDE), interpolation=cv2.INTER_AREA)
        eyes = [self._find_eye(np.asarray(face, dtype=np.uint8), half) for half in _EYE_WINDOWS]

        pair = np.stack([eye for eye in eyes if eye is not None] or [np.zeros(2)])
        if len(pair) < 2:
            return None
        across = pair[1] - pair[0]
        is_level = abs(across[1]) <= _EYE_SLOPE * across[0]
        if not (is_level and _EYE_DISTANCES[0] <= across[0] <= _EYE_DISTANCES[1]):
            return None
        return (pair * side + [left, top]).astype(np.float32)

    def _find_eye(self, face: Image, half: tuple[float, float]) -> FloatArray | None:
        """Find the center of one eye, in sides of the face."""
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


def skip_small_faces(detector: FaceDetector | None, min_fraction: float) -> FaceDetector | None:
    """Return a faster detector for frames in which small faces are ignored.

    Args:
        detector: detector, or None. A cascade spends most of its time on the smallest faces; others are returned.
        min_fraction: side of the smallest face that counts, relative to the shorter side of the frames.
    """
    if not isinstance(detector, CascadeDetector) or min_fraction <= detector.config.min_fraction:
        return detector
    return CascadeDetector(replace(detector.config, min_fraction=min_fraction))


def build_face_from_eyes(
    left_eye: FloatArray, right_eye: FloatArray, mouth: FloatArray, *, box: FloatArray, score: float
) -> Face:
    """Build a face from eyes and mouth; the other points follow from the proportions of a face.

    Args:
        left_eye: center of the eye on the left of the picture (2,).
        right_eye: center of the other eye (2,).
        mouth: center of the mouth (2,).
        box: left, top, right, bottom.
        score: score of the detector.

    Returns:
        Face with five landmarks and the outline from the brows to the chin.
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


def _build_face(box: FloatArray, score: float, eyes: FloatArray | None) -> Face:
    left, top, side = box
    if eyes is None:
        middle = np.array([left + side / 2, top + _EYES_Y * side])
        half = np.array([_EYE_DISTANCE / 2 * side, 0])
        eyes = np.stack([middle - half, middle + half]).astype(np.float32)
    across = eyes[1] - eyes[0]
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    mouth = eyes.mean(axis=0) + _EYES_TO_MOUTH * side * down
    corners = np.array([left, top, left + side, top + side])
    return build_face_from_eyes(eyes[0], eyes[1], mouth, box=corners, score=score)
