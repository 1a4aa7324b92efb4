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
from joyvasa.faces import landmarks203
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.insightface_networks import (
    detect_faces,
    detect_landmarks106,
    load_landmarks106,
    load_scrfd,
)
from joyvasa.faces.ratios import compute_eye_ratios, compute_lip_ratios
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image
from joyvasa.runtime.onnx import OnnxNetwork

FloatArray = NDArray[np.floating]

DETECTOR_SIDE = 512  # side of the square that pictures are fitted into, pixels

# Usual file names of the networks, by role.
_FILES = {"face_detector": "det_10g.onnx", "landmarks106": "2d106det.onnx", "landmarks203": "landmark.onnx"}


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
        threads: CPU threads of each network; 0 uses the default of ONNX Runtime.
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
        threads: int = 0,
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
        self._scrfd = load_scrfd(
            paths["face_detector"], side=DETECTOR_SIDE, overlap=self.config.overlap, device=device, threads=threads
        )
        self._landmarks106 = load_landmarks106(paths["landmarks106"], device=device, threads=threads)
        self._landmarks203 = OnnxNetwork(
            paths["landmarks203"], device=device, threads=threads, shape=landmarks203.SHAPE, outputs={2: 2 * 203}
        )

    @classmethod
    def create(cls, source: DetectorSource) -> InsightFaceDetector:
        """Create the detector from a model bundle."""
        files = {role: source.file(role) for role in _FILES}
        config = InsightFaceConfig(threshold=source.threshold)
        return cls(files=files, device=str(source.device), threads=source.threads, config=config)

    def detect(self, image: Image) -> list[Face]:
        """Detect faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces, largest first, with all landmarks.
        """
        boxes, keypoints = detect_faces(
            self._scrfd,
            image,
            side=DETECTOR_SIDE,
            threshold=self.config.threshold,
            max_faces=self.config.max_faces,
        )
        has_area = (boxes[:, 2:4] > boxes[:, :2]).all(axis=1)
        return sort_faces(
            [self._build_face(image, boxes[index], keypoints[index]) for index in np.flatnonzero(has_area)]
        )

    def _build_face(self, image: Image, scored_box: FloatArray, keypoints: FloatArray) -> Face:
        box = scored_box[:4]
        points_106 = detect_landmarks106(self._landmarks106, image, box)
        crop, to_original = landmarks203.prepare_landmarks_input(image, points_106)
        points_203 = landmarks203.decode_landmarks(self._landmarks203(crop)[2], to_original)
        left_eye, right_eye = compute_eye_ratios(points_203)[0].tolist()
        return Face(
            box,
            float(scored_box[4]),
            points_106,
            landmarks5=keypoints,
            landmarks203=points_203,
            lip_ratio=float(compute_lip_ratios(points_203)[0, 0]),
            eye_ratios=(left_eye, right_eye),
        )
