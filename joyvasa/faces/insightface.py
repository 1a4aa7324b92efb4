"""Faces by InsightFace's networks and LivePortrait's 203 landmarks, through ONNX Runtime.

The weights of `det_10g.onnx` and `2d106det.onnx` are for non-commercial research only; none are part of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, ModelError
from joyvasa.faces import landmarks, scrfd
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.media.image import Image
from joyvasa.runtime.onnx import OnnxNetwork

FloatArray = NDArray[np.floating]

_SIDE = 512  # pixels; input of the detector
_ANCHORS = [(_SIDE // stride) ** 2 * scrfd.ANCHORS_PER_CELL for stride in scrfd.STRIDES]


@dataclass(frozen=True)
class _Role:
    """One network: its usual file name, its input, and the size of those of its outputs that are used."""

    file: str
    shape: tuple[int, ...]
    outputs: dict[int, int]


_ROLES = {
    "face_detector": _Role(
        "det_10g.onnx",
        (1, 3, _SIDE, _SIDE),
        dict(enumerate(anchors * width for width in (1, 4, 10) for anchors in _ANCHORS)),
    ),
    "landmarks106": _Role("2d106det.onnx", (1, 3, landmarks.SIDE_106, landmarks.SIDE_106), {0: 212}),
    "landmarks203": _Role("landmark.onnx", (1, 3, landmarks.SIDE_203, landmarks.SIDE_203), {2: 406}),
}


@dataclass(frozen=True)
class InsightFaceConfig:
    """The published values.

    Args:
        threshold: lowest score of a face, 0 to 1; the reference's command line uses 0.15.
        overlap: largest intersection over union of two faces.
        max_faces: keep the largest and most central ones; 0: all.
    """

    threshold: float = 0.1
    overlap: float = 0.4
    max_faces: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 <= self.overlap <= 1 and self.max_faces >= 0):
            expected = "threshold in (0, 1], overlap in [0, 1], max_faces from 0"
            raise ConfigError("face_detector", f"{self} found; expected {expected}")


class InsightFaceDetector:
    """SCRFD boxes, then 106 landmarks, which the crop follows, then 203, which give the openings of eyes and lips.

    Threads may share one detector: ONNX Runtime's sessions allow it, and nothing else is kept.

    Args:
        files: the model files by role: `face_detector` (det_10g.onnx), `landmarks106` (2d106det.onnx),
            `landmarks203` (landmark.onnx).
        device: `cpu`, `cuda` or `cuda:N`. Where ONNX Runtime was built without CUDA it works on the CPU.
        threads: per network on the CPU; 0: as many as ONNX Runtime likes.
        config: thresholds.

    Raises:
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
        missing = [str(files.get(role, spec.file)) for role, spec in _ROLES.items() if not _exists(files.get(role))]
        if missing:
            needs = ", ".join(missing)
            advice = "fetch a model bundle that has it or use the detector cascade"
            raise ModelError("model_missing", f"detector insightface is not available: needs {needs}; {advice}")
        self._networks = {
            role: OnnxNetwork(Path(files[role]), device=device, shape=spec.shape, outputs=spec.outputs, threads=threads)
            for role, spec in _ROLES.items()
        }

    def detect(self, image: Image) -> list[Face]:
        """Finds faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces, largest first, with all landmarks.
        """
        blob, factor = scrfd.letterbox(image, _SIDE)
        outputs = self._networks["face_detector"](blob)
        found = scrfd.decode(outputs, side=_SIDE, factor=factor, threshold=self.config.threshold)
        found = found.take(scrfd.suppress(found.boxes, overlap=self.config.overlap))
        found = scrfd.keep_central(found, image.shape, self.config.max_faces)
        extended = (found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1)
        return sort_faces([self._face(image, found, index) for index in np.flatnonzero(extended)])

    def _face(self, image: Image, found: scrfd.Detections, index: np.intp) -> Face:
        box = found.boxes[index]
        crop, to_original = landmarks.input_106(image, box)
        points_106 = landmarks.points_106(self._networks["landmarks106"](crop)[0], to_original)
        crop, to_original = landmarks.input_203(image, points_106)
        points_203 = landmarks.points_203(self._networks["landmarks203"](crop)[2], to_original)
        return Face(box, float(found.scores[index]), points_106, found.keypoints[index], points_203)


def _exists(path: Path | None) -> bool:
    return path is not None and Path(path).is_file()
