"""Detect faces with InsightFace's networks and LivePortrait's 203 landmarks.

The weights `det_10g.onnx` and `2d106det.onnx` are for non-commercial research only and not part of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, ModelError
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.geometry import CropConfig, crop_face
from joyvasa.faces.insightface_networks import (
    detect_faces,
    detect_landmarks106,
    load_landmarks106,
    load_scrfd,
)
from joyvasa.faces.registry import DetectorSource
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image
from joyvasa.runtime.onnx import OnnxNetwork

FloatArray = NDArray[np.floating]

DETECTOR_SIDE = 512  # side of the square that pictures are fitted into, pixels

# Usual file names of the networks, by role.
_FILES = {"face_detector": "det_10g.onnx", "landmarks106": "2d106det.onnx", "landmarks203": "landmark.onnx"}

# LivePortrait's network for 203 landmarks.
SIDE = 224  # side of the network's input, pixels
SHAPE = (1, 3, SIDE, SIDE)
_CROP = CropConfig(scale=1.5, vy_ratio=-0.1, size=SIDE)
_EPSILON = 1e-6
_POINTS = 203
# (upper, lower), (corner, corner): indices of the points that give height and width.
_LEFT_EYE = ((6, 18), (0, 12))
_RIGHT_EYE = ((30, 42), (24, 36))
_LIPS = ((90, 102), (48, 66))


@dataclass(frozen=True)
class InsightFaceConfig:
    """Options of the detector. The defaults are the published values."""

    threshold: float = 0.1  # lowest score of a face, 0 to 1; the command line of the reference uses 0.15
    overlap: float = 0.4  # largest intersection over union of two faces
    max_faces: int = 0  # number of faces to return, the largest and most central ones; 0 returns all

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 <= self.overlap <= 1 and self.max_faces >= 0):
            expected = "threshold in (0, 1], overlap in [0, 1], max_faces from 0"
            raise ConfigError("face_detector", f"{self} found; expected {expected}")


class InsightFaceDetector:
    """Detect boxes with SCRFD, 106 landmarks for the crop, and 203 landmarks for the openings of eyes and lips.

    Threads may share a detector.

    Args:
        files: model files by role: `face_detector` (det_10g.onnx), `landmarks106` (2d106det.onnx), `landmarks203`
            (landmark.onnx).
        device: `cpu`, `cuda` or `cuda:N`; the CPU is used if ONNX Runtime was built without CUDA.
        config: options of the detector.

    Raises:
        EnvironmentFault: `insightface_missing`.
        ModelError: `model_missing`, `model_damaged`, or `model_mismatch` for a network of another kind.
    """

    def __init__(
        self,
        *,
        files: Mapping[str, Path],
        device: str = "cpu",
        config: InsightFaceConfig | None = None,
    ) -> None:
        self.config = config or InsightFaceConfig()
        missing = [str(files.get(role, name)) for role, name in _FILES.items() if not files.get(role, Path()).is_file()]
        if missing:
            raise ModelError(
                "model_missing",
                f"detector insightface is not available: needs {', '.join(missing)}; fetch a model bundle that has "
                "it or use the detector blazeface",
            )

        paths = {role: Path(files[role]) for role in _FILES}
        overlap = self.config.overlap
        self._scrfd = load_scrfd(paths["face_detector"], side=DETECTOR_SIDE, overlap=overlap, device=device)
        self._landmarks106 = load_landmarks106(paths["landmarks106"], device=device)
        self._landmarks203 = OnnxNetwork(paths["landmarks203"], device=device, shape=SHAPE, outputs={2: 2 * 203})

    @classmethod
    def create(cls, source: DetectorSource) -> InsightFaceDetector:
        """Create the detector from a model bundle."""
        files = {role: source.file(role) for role in _FILES}
        config = InsightFaceConfig(threshold=source.threshold)
        return cls(files=files, device=str(source.device), config=config)

    def detect(self, image: Image) -> list[Face]:
        """Detect faces.

        Returns:
            Faces, largest first, with 106 landmarks and the openings of lips and eyes.
        """
        boxes, _ = detect_faces(
            self._scrfd,
            image,
            side=DETECTOR_SIDE,
            threshold=self.config.threshold,
            max_faces=self.config.max_faces,
        )
        has_area = (boxes[:, 2:4] > boxes[:, :2]).all(axis=1)
        return sort_faces([self._build_face(image, box) for box in boxes[has_area]])

    def detect_landmarks203(self, image: Image, landmarks: FloatArray) -> FloatArray:
        """Detect LivePortrait's 203 landmarks of the face that has other landmarks, float32 (203, 2)."""
        crop, to_original = prepare_landmarks_input(image, landmarks)
        return decode_landmarks(self._landmarks203(crop)[2], to_original)

    def _build_face(self, image: Image, scored_box: FloatArray) -> Face:
        box, score = scored_box[:4], float(scored_box[4])
        points_106 = detect_landmarks106(self._landmarks106, image, box)
        points_203 = self.detect_landmarks203(image, points_106)
        left_eye, right_eye = compute_eye_ratios(points_203)[0].tolist()
        lip_ratio = float(compute_lip_ratios(points_203)[0, 0])
        return Face(box, score, points_106, lip_ratio=lip_ratio, eye_ratios=(left_eye, right_eye))


def prepare_landmarks_input(image: Image, landmarks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Crop a face for the network.

    Args:
        image: uint8 RGB (height, width, 3).
        landmarks: landmarks (points, 2) in any layout, pixels of the picture.

    Returns:
        Input in [0, 1], float32 (1, 3, 224, 224), and matrix from pixels of the crop to pixels of the picture (3, 3).
    """
    crop = crop_face(image, landmarks, _CROP)
    blob = np.ascontiguousarray(crop.image.transpose(2, 0, 1)[None], dtype=np.float32)
    return blob / 255, crop.to_original


def decode_landmarks(output: FloatArray, to_original: FloatArray) -> FloatArray:
    """Decode the third output of the network, 406 coordinates in the crop, 0 to 1.

    `to_original` is the matrix of `prepare_landmarks_input`; the landmarks are float32 (203, 2), pixels of the picture.
    """
    return transform_points(output.reshape(203, 2) * SIDE, to_original)


def compute_eye_ratios(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the openings of the left and the right eye, height over width, float32 (batch, 2); 0 is closed.

    Args:
        landmarks: landmarks (203, 2) or (batch, 203, 2), in any unit.
    """
    return np.stack([_ratio(landmarks, *_LEFT_EYE), _ratio(landmarks, *_RIGHT_EYE)], axis=1)


def compute_lip_ratios(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the opening of the lips as that of the eyes, see `compute_eye_ratios`; float32 (batch, 1)."""
    return _ratio(landmarks, *_LIPS)[:, None]


def _ratio(landmarks: NDArray[np.floating], opening: tuple[int, int], width: tuple[int, int]) -> NDArray[np.floating]:
    points = np.asarray(landmarks, dtype=np.float32)
    if points.ndim not in (2, 3) or points.shape[-2:] != (_POINTS, 2):
        raise ConfigError("landmark_layout", f"landmarks of shape {points.shape} found; expected ([batch,] 203, 2)")
    points = points.reshape(-1, _POINTS, 2)

    def distance(pair: tuple[int, int]) -> NDArray[np.floating]:
        return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)

    return distance(opening) / (distance(width) + np.float32(_EPSILON))
