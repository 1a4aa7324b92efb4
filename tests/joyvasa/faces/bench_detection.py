"""Accuracy and speed of the detector for people; `pytest -s -m bench tests/joyvasa/faces/bench_detection.py`."""

import importlib.util
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from joyvasa.bundles.detectors import load_people_detector
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.face_mesh import MeshTask
from joyvasa.faces.square import compute_face_square
from joyvasa.media.image import read_image, resize_to_limit
from pipelines.bench.timing import time_in_turns
from tests.joyvasa.faces.turned_heads import turn_head
from tests.media import DATA, MEDIA, MORE_MEDIA

pytestmark = pytest.mark.bench

ROUNDS = 3
# Outline that landmark layouts span, from averages of adult faces (Farkas, Anthropometry of the Head and Face): pupils
# 63 mm apart, mouth 67 mm below them, brows 25 mm above them, chin 45 mm below the mouth, face 137 mm wide.
BROWS, CHIN, HALF_WIDTH = -25 / 67, (67 + 45) / 67, 137 / 63 / 2


def list_sets() -> dict[str, tuple[Path, dict[str, dict[str, list[float]]]]]:
    sets = {"portraits": (MEDIA / "portraits", json.loads((MEDIA / "faces.json").read_text()))}
    if MORE_MEDIA.is_dir():
        points = json.loads((DATA / "face_points.json").read_text())
        sets["training portraits"] = (MORE_MEDIA / "training/portraits", points)
    return sets


def measure(detector: FaceDetector, folder: Path, points: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return found faces, and median and largest errors of eyes, mouth, and center and side of the crop."""
    errors = []
    for name, annotation in points.items():
        left, right, mouth = (np.array(annotation[key], np.float32) for key in ("left_eye", "right_eye", "mouth"))
        faces = detector.detect(read_image(folder / name))
        apart = math.dist(left, right)
        best = min(faces, key=lambda face: math.dist(face.landmarks[:2].mean(axis=0), (left + right) / 2), default=None)
        if best is None or math.dist(best.landmarks[:2].mean(axis=0), (left + right) / 2) > apart:
            continue
        eyes = max(math.dist(best.landmarks[0], left), math.dist(best.landmarks[1], right)) / apart
        mouth_error = math.dist(best.landmarks[3:5].mean(axis=0), mouth) / apart

        down = mouth - (left + right) / 2
        across = np.array([down[1], -down[0]]) / np.linalg.norm(down) * apart * HALF_WIDTH
        outline = [(left + right) / 2 + side * across + y * down for side in (-1, 1) for y in (BROWS, CHIN)]
        annotated = np.stack([left, right, mouth, mouth, mouth])
        expected = compute_face_square(annotated, scale=2.3, vy_ratio=-0.125, extent=np.stack(outline))
        actual = compute_face_square(best.landmarks, scale=2.3, vy_ratio=-0.125, extent=best.extent)
        center = math.dist(expected.center, actual.center) / expected.side
        errors.append((eyes, mouth_error, center, actual.side / expected.side - 1))
    table = np.array(errors)
    figures = [f"{np.median(column):.3f} ({np.abs(column).max():.2f})" for column in table.T]
    return [f"{len(errors)} of {len(points)}", *figures]


def measure_shifts(detector: FaceDetector, folder: Path, points: dict[str, dict[str, list[float]]]) -> np.ndarray:
    """Return signed errors per picture, (n, 7), of a crop from eyes and mouth relative to the annotated points.

    Columns: center of eyes and mouth, to the right and down in the face, in sides of the crop; distance from eyes to
    mouth and between the eyes, relative; roll, degrees; eyes and mouth, down, in sides of the crop.
    """
    rows = []
    for name, annotation in points.items():
        left, right, mouth = (np.array(annotation[key], np.float64) for key in ("left_eye", "right_eye", "mouth"))
        faces = detector.detect(read_image(folder / name))
        face = min(faces, key=lambda face: math.dist(face.landmarks[:2].mean(axis=0), (left + right) / 2))
        side = compute_face_square(face.landmarks, scale=2.3, vy_ratio=-0.125, extent=face.extent).side
        eyes, lips = face.landmarks[:2].mean(axis=0), face.landmarks[3:5].mean(axis=0)
        middle, down, found = (left + right) / 2, mouth - (left + right) / 2, lips - eyes
        axis = down / np.linalg.norm(down)
        across = np.array([axis[1], -axis[0]])
        center = (eyes + lips - middle - mouth) / 2 / side
        roll = math.degrees(math.atan2(across @ found, axis @ found))
        lengths = np.linalg.norm(found) / np.linalg.norm(down), math.dist(*face.landmarks[:2]) / math.dist(left, right)
        ends = (eyes - middle) @ axis / side, (lips - mouth) @ axis / side
        rows.append([center @ across, center @ axis, lengths[0] - 1, lengths[1] - 1, -roll, *ends])
    return np.array(rows)


def test_shifts():
    """Compare with centers of eyes and mouth of a model with 68 points, as InsightFace's crop uses them."""
    folder, points = list_sets()["portraits"]
    errors = measure_shifts(load_people_detector(), folder, points)
    print("\nright | down | eyes to mouth | between the eyes | roll, degrees | eyes, down | mouth, down")
    for name, row in {"mean": errors.mean(0), "largest": abs(errors).max(0)}.items():
        print(name, " | ".join(f"{value:.3f}" for value in row))


def test_turned_heads():
    """Count heads that code turned aside and that are found, with eyes and mouth in their place."""
    detector = load_people_detector()
    folder, points = list_sets()["portraits"]
    found: dict[float, int] = {}
    for name in points:
        portrait = resize_to_limit(read_image(folder / name), max_side=640)
        face = detector.detect(portrait)[0]
        center = (face.box[:2] + face.box[2:]) / 2
        mesh = detector._fitter.fit([MeshTask(portrait, center, face.side)])[0].points
        for degrees in (-75, -60, -45, 45, 60, 75):
            turned, places = turn_head(portrait, mesh, degrees)
            limit = 0.6 * math.dist(*places)
            found[abs(degrees)] = found.get(abs(degrees), 0) + any(
                math.dist(face.landmarks[:2].mean(axis=0), places[0]) < limit
                and math.dist(face.landmarks[3:5].mean(axis=0), places[1]) < limit
                for face in detector.detect(turned)
            )
    for degrees, count in found.items():
        print(f"\nturned by {degrees} degrees: {count} of {2 * len(points)}", end="")


# Pictures of installed packages and the number of people in them; thresholds were never chosen with them.
INSTALLED = {
    "skimage/data/astronaut.png": 1,
    "skimage/data/camera.png": 1,
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": 1,
    "insightface/data/images/Tom_Hanks_54745.png": 1,
    "insightface/data/images/t1.jpg": 6,
    "skimage/data/brick.png": 0,
    "skimage/data/coffee.png": 0,
    "skimage/data/coins.png": 0,
    "skimage/data/gravel.png": 0,
    "skimage/data/hubble_deep_field.jpg": 0,
    "skimage/data/ihc.png": 0,
    "skimage/data/moon.png": 0,
    "skimage/data/motorcycle_left.png": 0,
    "skimage/data/page.png": 0,
    "skimage/data/rocket.jpg": 0,
    "gradio/media_assets/images/tower.jpg": 0,
}


def test_pictures_of_installed_packages():
    detector = load_people_detector()
    print()
    for name, count in INSTALLED.items():
        package, path = name.split("/", 1)
        spec = importlib.util.find_spec(package)
        file = Path(str(spec.origin)).parent / path if spec else None
        if file is None or not file.is_file():
            print(f"{name}: not installed")
            continue
        faces = detector.detect(resize_to_limit(read_image(file), max_side=1280))
        print(f"{name}: {len(faces)} of {count}")


def test_accuracy():
    detector = load_people_detector()
    print("\nset | found | eyes | mouth | center of the crop | side of the crop")
    for name, (folder, points) in list_sets().items():
        print(" | ".join([name, *measure(detector, folder, points)]))


def test_rolls_and_sizes():
    """Count faces found at their place in rotated pictures, and in small copies in pictures of 1280x960."""
    detector = load_people_detector()
    folder, points = list_sets()["portraits"]
    found: dict[str, int] = {}
    for name, annotation in points.items():
        portrait = resize_to_limit(read_image(folder / name), max_side=640)
        scale = portrait.shape[0] / annotation["size"][1]
        eyes = np.array([annotation["left_eye"], annotation["right_eye"]]) * scale
        height, width = portrait.shape[:2]
        side = math.ceil(math.hypot(height, width))
        for degrees in range(0, 360, 30):
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
            matrix[:, 2] += (side - width) / 2, (side - height) / 2
            picture = cv2.warpAffine(portrait, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
            key = f"rolled by {degrees} degrees"
            found[key] = found.get(key, 0) + is_found(detector, picture, eyes @ matrix[:, :2].T + matrix[:, 2])

        box = np.array(annotation["box"]) * scale
        for pixels in (40, 48, 64, 96):
            factor = pixels / (box[2] - box[0])
            small = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            small = small[:900, :1200]
            picture = np.full((960, 1280, 3), 96, np.uint8)
            picture[40 : 40 + small.shape[0], 60 : 60 + small.shape[1]] = small
            key = f"face of {pixels} pixels"
            found[key] = found.get(key, 0) + is_found(detector, picture, eyes * factor + [60, 40])
    for key, count in found.items():
        print(f"\n{key}: {count} of {len(points)}", end="")


def is_found(detector: FaceDetector, picture: np.ndarray, eyes: np.ndarray) -> bool:
    """Return whether a face has both eyes within a quarter of their distance."""
    limit = math.dist(*eyes) / 4
    faces = detector.detect(picture)
    return any(all(math.dist(eye, at) < limit for eye, at in zip(face.landmarks, eyes, strict=False)) for face in faces)


def test_speed():
    """Compare with the search of OpenCV's cascade for frontal faces, which had the same task before."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = load_people_detector()
    cascades = Path(getattr(getattr(cv2, "data", None), "haarcascades", ""))
    path = cascades / "haarcascade_frontalface_alt2.xml"
    pictures = [resize_to_limit(read_image(path), max_side=1280) for path in sorted((MEDIA / "portraits").iterdir())]

    def search_cascade() -> None:
        for picture in pictures:
            gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            factor = min(1.0, 800 / max(gray.shape))
            small = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            side = int(min(small.shape) * 0.05)
            cascade.detectMultiScale(small, 1.1, 4, 0, (side, side))

    functions = {"blazeface": lambda: detector.detect_batch(pictures)}
    if path.is_file():
        cascade = cv2.CascadeClassifier(str(path))
        functions["cascade"] = search_cascade
    timings = time_in_turns(functions, torch.device("cpu"), rounds=ROUNDS)
    for name, timing in timings.items():
        print(f"\n{name}: {1000 * timing.median_s / len(pictures):.0f} ms a picture", end="")
    if "cascade" in timings:
        print(f"\nblazeface takes {timings['blazeface'].median_s / timings['cascade'].median_s:.2f} of the time")
