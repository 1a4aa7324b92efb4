"""Identity similarity (CSIM): whether the video shows the face of the source picture, measured by ArcFace.

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition". Faces are detected and aligned
as in insightface with its buffalo_l models. Different people have a similarity of about 0, two photographs of the same
person usually above 0.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import InputError
from joyvasa.faces.insightface_networks import ARCFACE_SIDE, detect_faces, load_arcface, load_scrfd
from joyvasa.media.image import Image
from joyvasa.metrics.base import (
    Clip,
    Measurement,
    Metric,
    MetricColumn,
    MetricModels,
    NotMeasured,
    Values,
)

if TYPE_CHECKING:
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.model_zoo.scrfd import SCRFD

FloatArray = NDArray[np.floating]

DETECTOR_SIDE = 640  # pixels; side of the square input of the detector
# Positions of the eyes, the nose and the mouth corners in ArcFace's training images, pixels.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
# Frames compared per second, starting with the first; heads turn in about half a second, and a frame takes half a
# second on a CPU.
SAMPLES_PER_SECOND = 2.0
THRESHOLD = 0.5  # minimum score of a face; insightface's default
OVERLAP = 0.4  # maximum intersection over union of two faces; insightface's default
BATCH_FACES = 16  # batch size of ArcFace


class IdentityMetric(Metric):
    """Mean cosine similarity of ArcFace features between sampled frames and the source picture."""

    name = "identity"
    columns = (
        MetricColumn(
            "identity",
            "Identity similarity",
            "cosine similarity of ArcFace features between the face in the video and the source picture, mean over "
            "two frames per second (also CSIM)",
            "",
            "higher",
        ),
        MetricColumn(
            "identity_faces", "Frames with a face", "share of these frames with a detected face", "", "higher"
        ),
    )
    roles = ("arcface", "scrfd")
    license = "InsightFace non-commercial research"

    def setup(self, models: MetricModels) -> None:
        """Load SCRFD and ArcFace."""
        device, file = str(models.device), models.bundle.find_file
        detector = load_scrfd(file("scrfd"), side=DETECTOR_SIDE, overlap=OVERLAP, device=device)
        arcface = load_arcface(file("arcface"), device=device)
        self._recognizer = FaceRecognizer(detector, arcface)

    def start(self, clip: Clip) -> Measurement:
        """Start a measurement; animals and source pictures without a face have no values."""
        if clip.mode != "human":
            raise InputError("not_human", f"mode {clip.mode}; ArcFace supports human faces only")
        if clip.reference_frame is None:
            raise InputError("no_still", "no source picture is known; expected the row's image")

        face = self._recognizer.crop_face(clip.reference_frame)
        if face is None:
            raise InputError("no_source_face", "no face found in the source picture; expected one")
        source = self._recognizer.compute_features([face])[0]
        return _Identity(self._recognizer, source, clip.frames_per_second)


@dataclass(frozen=True, eq=False)
class FaceRecognizer:
    """Crops the largest face of a picture and computes features of faces."""

    detector: SCRFD  # SCRFD
    arcface: ArcFaceONNX  # ArcFace

    def crop_face(self, image: Image) -> Image | None:
        """Crop and align the largest face.

        Returns:
            Aligned face, uint8 RGB (112, 112, 3); None if no face is found.
        """
        boxes, keypoints = detect_faces(self.detector, image, side=DETECTOR_SIDE, threshold=THRESHOLD)
        if not len(boxes):
            return None
        largest = int(np.argmax((boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)))
        return align_face(image, keypoints[largest])

    def compute_features(self, faces: list[Image]) -> FloatArray:
        """Compute the features of aligned faces, shape (faces, 512), not normalized."""
        return np.asarray(self.arcface.get_feat([cv2.cvtColor(face, cv2.COLOR_RGB2BGR) for face in faces]))


class _Identity(Measurement):
    """Holds one batch of aligned faces and no frames."""

    def __init__(self, recognizer: FaceRecognizer, source: FloatArray, frames_per_second: float) -> None:
        self._recognizer, self._source = recognizer, source
        self._step = max(frames_per_second / SAMPLES_PER_SECOND, 1.0)
        self._n_frames = self._n_samples = self._n_faces = 0
        self._total = 0.0
        self._faces: list[Image] = []

    def update(self, frames: np.ndarray) -> None:
        for frame in frames:
            if self._n_frames == math.floor(self._n_samples * self._step):
                self._n_samples += 1
                if (face := self._recognizer.crop_face(frame)) is not None:
                    self._faces.append(face)
            self._n_frames += 1
            if len(self._faces) == BATCH_FACES:
                self._compare()

    def finish(self) -> Values:
        if self._faces:
            self._compare()
        values: dict[str, float | NotMeasured] = {"identity_faces": self._n_faces / self._n_samples}
        if self._n_faces:
            values["identity"] = self._total / self._n_faces
        else:
            sentence = f"no face found in {self._n_samples} frames of the video; expected one"
            values["identity"] = NotMeasured("no_face", sentence)
        return values

    def _compare(self) -> None:
        self._total += float(cosine_similarities(self._recognizer.compute_features(self._faces), self._source).sum())
        self._n_faces += len(self._faces)
        self._faces = []


def align_face(image: Image, keypoints: FloatArray) -> Image:
    """Crop a face aligned to ArcFace's template, uint8 RGB (112, 112, 3), black outside the picture.

    Args:
        image: picture, uint8 RGB (height, width, 3).
        keypoints: eyes, nose and mouth corners, pixels, shape (5, 2).
    """
    matrix = similarity_transform(keypoints, TEMPLATE)
    return np.asarray(
        cv2.warpAffine(image, matrix, (ARCFACE_SIDE, ARCFACE_SIDE), flags=cv2.INTER_LINEAR), dtype=np.uint8
    )


def similarity_transform(points: FloatArray, targets: FloatArray) -> FloatArray:
    """Fit the similarity transform (rotation, scale, shift) that maps points to targets, by least squares.

    Equals Umeyama 1991, "Least-squares estimation of transformation parameters", in the plane, where rotation and scale
    are one complex factor. Points and targets have shape (n, 2), the transform, for columns (x, y, 1), float64 (2, 3).
    """
    source, target = (np.asarray(xy, dtype=np.float64) @ (1, 1j) for xy in (points, targets))
    centered = source - source.mean()
    factor = np.vdot(centered, target - target.mean()) / np.vdot(centered, centered).real
    shift = target.mean() - factor * source.mean()
    return np.array([(factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)])


def cosine_similarities(features: FloatArray, reference: FloatArray) -> FloatArray:
    """Compute the cosine similarity of each row of features (n, d) and a reference (d,), shape (n,)."""
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(reference)
    return features @ reference / np.maximum(lengths, np.finfo(np.float32).tiny)
