"""Pictures of animals with landmarks annotated by eye."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import yaml

from joyvasa.errors import InputError
from joyvasa.media.image import read_image
from joyvasa.sample.networks.animal_landmarks import EYE_LIDS, LANDMARKS, MOUTH_CORNERS

TARGET_UNIT = 110.0  # pixels; pictures with a larger face are reduced
MASK_ROUNDS = 4  # of GrabCut
SURE_FACE, SURE_OUTSIDE = 0.85, 3.2  # ellipses around the face: certainly animal inside, background outside


@dataclass(frozen=True)
class AnimalPicture:
    """A picture of an animal."""

    name: str  # key in `animal_points.yaml`
    image: np.ndarray  # uint8 RGB (height, width, 3)
    mask: np.ndarray  # uint8 (height, width), 255 inside the animal
    points: np.ndarray  # landmarks (15, 2), pixels, in the order of `LANDMARKS`
    held_out: bool = False  # whether the picture is used for measurement only


def eye_centers(points: np.ndarray) -> np.ndarray:
    """Return the centers of the eyes, (2, 2), the one on the left of the picture first; `points` are landmarks."""
    return np.stack([points[list(lids)].mean(0) for lids in EYE_LIDS])


def measure_unit(points: np.ndarray) -> float:
    """Return the mean of the distance between the eyes and the distance from eyes to mouth, pixels."""
    eyes = eye_centers(points)
    mouth = points[list(MOUTH_CORNERS)].mean(0)
    return float(np.linalg.norm(eyes[1] - eyes[0]) + np.linalg.norm(mouth - eyes.mean(0))) / 2


def face_axis(points: np.ndarray) -> np.ndarray:
    """Return the unit vector from the middle of the eyes to the middle of the mouth, (2,)."""
    down = points[list(MOUTH_CORNERS)].mean(0) - eye_centers(points).mean(0)
    return down / np.linalg.norm(down)


@cache
def _annotations() -> dict[str, dict]:
    return yaml.safe_load(Path(__file__).with_name("animal_points.yaml").read_text(encoding="utf-8"))


def annotated_points(picture: Path) -> np.ndarray | None:
    """Return the annotated landmarks of a picture by the name of its file, (15, 2) in pixels; None if it has none."""
    for entry in _annotations().values():
        if Path(entry["file"]).stem == picture.stem:
            return np.array([entry["points"][key] for key in LANDMARKS], np.float64)
    return None


def load_animals(folder: Path) -> list[AnimalPicture]:
    """Read the annotated pictures that a folder has.

    Raises:
        InputError: `no_animals` if there is none.
    """
    animals = list(_read_animals(folder))
    if not animals:
        expected = ", ".join(list(_annotations())[:3])
        raise InputError("no_animals", f"{folder}: no annotated picture; expected some of {expected} ...")
    return animals


def _read_animals(folder: Path) -> Iterator[AnimalPicture]:
    for name, entry in _annotations().items():
        path = folder / entry["file"]
        if not path.is_file():
            continue
        points = np.array([entry["points"][key] for key in LANDMARKS], np.float64)
        alpha = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image = read_image(path)
        has_mask = alpha is not None and alpha.ndim == 3 and alpha.shape[2] == 4 and alpha[..., 3].min() < 128
        mask = np.ascontiguousarray(alpha[..., 3]) if has_mask else None  # type: ignore[index]

        shrink = TARGET_UNIT / measure_unit(points)
        if shrink < 1:
            image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            mask = None if mask is None else cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA)
            points = points * shrink
        if mask is None:
            mask = segment_animal(image, points)
        yield AnimalPicture(name, np.asarray(image, np.uint8), mask, points, bool(entry.get("held_out")))


def segment_animal(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Separate an animal from the background of a photograph with GrabCut, started from its landmarks.

    C. Rother, V. Kolmogorov, A. Blake (2004), "GrabCut: interactive foreground extraction using iterated graph cuts".

    Returns:
        uint8 (height, width), 255 inside the animal.
    """
    unit, down = measure_unit(points), face_axis(points)
    across = np.array([down[1], -down[0]])
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    offset = np.stack([x, y], -1) - eye_centers(points).mean(0)
    u, v = offset @ across / unit, offset @ down / unit

    labels = np.full(image.shape[:2], cv2.GC_PR_BGD, np.uint8)
    labels[(np.abs(u) < 1.1) & (v > -0.9)] = cv2.GC_PR_FGD
    labels[np.hypot(u, (v - 2.0) / 1.5) > SURE_OUTSIDE] = cv2.GC_BGD
    hull = np.zeros(image.shape[:2], np.uint8)
    middle = points.mean(0)
    face = cv2.convexHull((middle + (points - middle) * SURE_FACE).astype(np.int32))
    cv2.fillConvexPoly(hull, face, 1)
    labels[hull > 0] = cv2.GC_FGD
    model = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(image[..., ::-1].copy(), labels, None, model[0], model[1], MASK_ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    return cv2.medianBlur(mask, 5)
