"""Faces in pictures: what a detector returns, and which of several faces is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, InputError
from joyvasa.faces.geometry import CropConfig, FaceCrop, crop_face
from joyvasa.faces.ratios import eye_ratios, lip_ratios
from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]
FaceOrder = Literal["large-small", "small-large", "left-right", "right-left", "top-bottom", "bottom-top"]

MIN_FACE_SIDE = 48  # pixels; a smaller face would be enlarged more than five times for the networks' 256

# Each maps boxes (faces, 4) to the key that is sorted ascending.
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
    """One face in a picture. All coordinates are (x, y) in pixels of the picture.

    Args:
        box: float32 (4,), left, top, right, bottom; may leave the picture.
        score: the detector's confidence; comparable between faces of one detector only.
        landmarks: float32 (points, 2), the layout that the crop is computed from.
        landmarks5: float32 (5, 2), the eyes, the nose, the corners of the mouth; None if unknown.
        landmarks203: float32 (203, 2); None if the detector has no network for them.
        extent: float32 (points, 2), the outline that the crop is built on where `landmarks` do not reach from the
            brows to the chin; None where they do.
    """

    box: FloatArray
    score: float
    landmarks: FloatArray
    landmarks5: FloatArray | None = None
    landmarks203: FloatArray | None = None
    extent: FloatArray | None = None

    @property
    def side(self) -> float:
        """The longer side of the box, pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def lip_ratio(self) -> float | None:
        """Opening of the lips, height over width; None without the 203 landmarks."""
        return None if self.landmarks203 is None else float(lip_ratios(self.landmarks203)[0, 0])

    @property
    def eye_ratios(self) -> tuple[float, float] | None:
        """Opening of the left and the right eye, height over width; None without the 203 landmarks."""
        if self.landmarks203 is None:
            return None
        left, right = eye_ratios(self.landmarks203)[0]
        return float(left), float(right)

    def crop(self, image: Image, config: CropConfig | None = None) -> FaceCrop:
        """Cuts the face out of the picture it was found in, see `joyvasa.faces.geometry.crop_face`."""
        return crop_face(image, self.landmarks, config, extent=self.extent)


class FaceDetector(Protocol):
    """Finds faces. Implementations say in their docstring whether threads may share one."""

    def detect(self, image: Image) -> list[Face]:
        """All faces of a uint8 RGB (height, width, 3) picture, largest first; empty if there is none."""
        ...


@dataclass(frozen=True)
class FaceChoice:
    """The face that was taken.

    Args:
        face: that face.
        count: how many faces there were to choose from. More than one deserves a warning.
        ignored: how many more were too small to be taken.
    """

    face: Face
    count: int
    ignored: int


def sort_faces(faces: Sequence[Face], order: FaceOrder = "large-small") -> list[Face]:
    """Sorts faces by the area, the left edge or the top edge of their boxes.

    Raises:
        ConfigError: there is no such order.
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
    """Takes one of the faces that a detector found.

    Args:
        faces: all faces of a picture.
        order: how they are sorted; the reference takes the largest.
        index: which of the sorted faces is taken, from 0.
        min_side: faces whose box is smaller are ignored, pixels.
        name: how errors call the picture.

    Returns:
        The face and the number of candidates.

    Raises:
        InputError: `face_not_found`, `face_too_small`, or `face_index` if there are fewer faces than `index` asks for.
        ConfigError: unknown order, or a negative index.
    """
    if index < 0:
        raise ConfigError("face_index", f"face index is {index}; expected 0 (the first face) or above")
    candidates = sort_faces([face for face in faces if face.side >= min_side], order)
    if not faces:
        raise InputError("face_not_found", f"{name}: no face found; expected one: use a frontal, well lit portrait")
    if not candidates:
        largest = max(face.side for face in faces)
        found = f"largest face is {largest:.0f} pixels"
        raise InputError("face_too_small", f"{name}: {found}; expected at least {min_side}: use a closer portrait")
    if index >= len(candidates):
        sentence = f"{name}: {len(candidates)} faces found; face index {index} expects {index + 1}: use a lower index"
        raise InputError("face_index", sentence)
    return FaceChoice(candidates[index], len(candidates), len(faces) - len(candidates))


def _areas(boxes: FloatArray) -> FloatArray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
