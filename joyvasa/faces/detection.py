"""Face detectors, the faces they return, and the choice of one face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, InputError
from joyvasa.faces.geometry import CropConfig, FaceCrop, crop_face
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]
FaceOrder = Literal["large-small", "small-large", "left-right", "right-left", "top-bottom", "bottom-top"]

MIN_FACE_SIDE = 48  # pixels; smaller faces would be enlarged more than fivefold for the 256 pixels of the networks

# Functions from boxes (faces, 4) to ascending sort keys.
_ORDERS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "large-small": lambda boxes: -_areas(boxes),
    "small-large": lambda boxes: _areas(boxes),
    "left-right": lambda boxes: boxes[:, 0],
    "right-left": lambda boxes: -boxes[:, 0],
    "top-bottom": lambda boxes: boxes[:, 1],
    "bottom-top": lambda boxes: -boxes[:, 1],
}


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture. All coordinates are (x, y) in pixels of the picture."""

    box: FloatArray  # left, top, right, bottom, float32 (4,); may exceed the picture
    score: float  # confidence of the detector; comparable only between faces of one detector
    landmarks: FloatArray  # landmarks from which the crop is computed, float32 (points, 2)
    # outline for the crop if `landmarks` do not extend from the brows to the chin, float32 (points, 2); otherwise None
    extent: FloatArray | None = None
    lip_ratio: float | None = None  # opening of the lips, height over width; None if the detector does not measure it
    # opening of the left and the right eye, height over width; None if the detector does not measure it
    eye_ratios: tuple[float, float] | None = None

    @property
    def side(self) -> float:
        """Longer side of the box, pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    def crop(self, image: Image, config: CropConfig | None = None) -> FaceCrop:
        """Crop the face from its picture; see `joyvasa.faces.geometry.crop_face`."""
        return crop_face(image, self.landmarks, config, extent=self.extent)


class FaceDetector(Protocol):
    """Interface of face detectors. Docstrings of implementations state whether threads may share a detector."""

    def detect(self, image: Image) -> list[Face]:
        """Return all faces of a uint8 RGB (height, width, 3) picture, largest first."""
        ...


@runtime_checkable
class BatchFaceDetector(FaceDetector, Protocol):
    """Interface of detectors that search several pictures faster than one after another."""

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return all faces of each picture, as `detect` does."""
        ...


def detect_faces(detector: FaceDetector, images: Sequence[Image]) -> list[list[Face]]:
    """Return all faces of each picture, of any sizes, found in one batch if the detector can."""
    if isinstance(detector, BatchFaceDetector):
        return detector.detect_batch(images)
    return [detector.detect(image) for image in images]


@dataclass(frozen=True)
class FaceChoice:
    """The face selected for animation."""

    face: Face  # the selected face
    count: int  # number of candidates; more than one should be reported as a warning


def sort_faces(faces: Sequence[Face], order: FaceOrder = "large-small") -> list[Face]:
    """Sort faces by area, left edge or top edge of their boxes.

    Raises:
        ConfigError: the order is unknown.
    """
    if order not in _ORDERS:
        raise ConfigError("face_order", f"face order is {order!r}; expected one of {', '.join(_ORDERS)}")
    if not faces:
        return []
    keys = _ORDERS[order](np.stack([face.box for face in faces]))
    return [faces[index] for index in np.argsort(keys, kind="stable")]


def choose_face(
    faces: Sequence[Face],
    *,
    order: FaceOrder = "large-small",
    index: int = 0,
    min_side: int = MIN_FACE_SIDE,
    name: str = "picture",
) -> FaceChoice:
    """Select one of the faces of a picture.

    Args:
        faces: all detected faces of the picture.
        order: sort order; the reference uses the largest face.
        index: index of the selected face in this order.
        min_side: minimum side of the box, pixels; smaller faces are ignored.
        name: name of the picture in errors.

    Returns:
        The face and the number of candidates.

    Raises:
        InputError: `face_not_found`, `face_too_small`, or `face_index` if there are fewer faces than `index` asks for.
        ConfigError: the order is unknown or the index is negative.
    """
    if index < 0:
        raise ConfigError("face_index", f"face index is {index}; expected 0 (the first face) or above")
    candidates = sort_faces([face for face in faces if face.side >= min_side], order)

    if not faces:
        raise InputError("face_not_found", f"{name}: no face found; expected one: use a frontal, well lit portrait")
    if not candidates:
        largest = max(face.side for face in faces)
        sentence = f"{name}: largest face is {largest:.0f} pixels; expected at least {min_side}: use a closer portrait"
        raise InputError("face_too_small", sentence)
    if index >= len(candidates):
        sentence = f"{name}: {len(candidates)} faces found; face index {index} expects {index + 1}: use a lower index"
        raise InputError("face_index", sentence)
    return FaceChoice(candidates[index], len(candidates))


def _areas(boxes: FloatArray) -> FloatArray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
