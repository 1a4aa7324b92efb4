from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from joyvasa.faces import insightface, insightface_networks
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.insightface_networks import (
    detect_faces,
    detect_landmarks106,
    load_landmarks106,
    load_scrfd,
)
from tests.golden.reference import Section
from tests.joyvasa.faces.planted import write_network

VARIANT = "_cv410" if int(cv2.__version__.split(".")[0]) < 5 else ""


@pytest.fixture(scope="module")
def section() -> Section:
    return Section("detect", VARIANT)


@pytest.fixture(scope="module")
def image(section) -> np.ndarray:
    """Return the image with its channels read as BGR, as for the stored results."""
    return np.ascontiguousarray(section.input("image")[..., ::-1])


class StoredNetwork:
    """Replace an ONNX network and its session: record the last input and return stored outputs."""

    def __init__(self, input_shape: list[int | str], outputs: list[np.ndarray]) -> None:
        self.session = self
        self.input_shape, self.outputs = input_shape, outputs
        self.blob = np.empty(0)

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="input", shape=self.input_shape)]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=str(i), shape=values.shape) for i, values in enumerate(self.outputs)]

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.blob = inputs["input"]
        return [values.copy() for values in self.outputs]


def load_stored(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any], network: StoredNetwork, **options: Any
) -> Any:
    monkeypatch.setattr(insightface_networks, "OnnxNetwork", lambda path, **_: network)
    return load(device="cpu", **options)


@pytest.fixture
def scrfd(section) -> StoredNetwork:
    scores = [section.input(f"score{level}").numpy() ** 400 for level in range(3)]
    outputs = [section.input(f"{kind}{level}").numpy() for kind in ("bbox", "kps") for level in range(3)]
    return StoredNetwork([1, 3, "height", "width"], [*scores, *outputs])


@pytest.fixture
def detector(monkeypatch, scrfd) -> Any:
    return load_stored(monkeypatch, load_scrfd, scrfd, path=Path("det_10g.onnx"), side=512, overlap=0.4)


def check_input(section: Section, name: str, actual: np.ndarray, level: float) -> None:
    """Check an input: exact with the OpenCV version of the stored data, within four levels with others."""
    section.check(name, actual, 1e-5, absolute=None if VARIANT else 4 * level)


def test_letterboxed_input_matches(section, image, scrfd, detector):
    detect_faces(detector, image, side=512, threshold=0.1)
    section.check("det_blob", scrfd.blob, 1e-5)


def test_decoded_faces_match(section, image, detector):
    boxes, keypoints = detect_faces(detector, image, side=512, threshold=0.1)
    section.check("det", boxes, 1e-5)
    section.check("det_kps", keypoints, 1e-5)


def test_limited_number_of_faces_matches(section, image, detector):
    section.check("det_max3", detect_faces(detector, image, side=512, threshold=0.1, max_faces=3)[0], 1e-5)


@pytest.mark.parametrize("order", ["large-small", "small-large", "left-right", "top-bottom"])
def test_orders_match(section, image, detector, order):
    boxes, _ = detect_faces(detector, image, side=512, threshold=0.1)
    faces = [Face(box[:4], 1.0, np.zeros((5, 2), dtype=np.float32)) for box in boxes]
    section.check(f"order_{order}", np.stack([face.box for face in sort_faces(faces, order)]), 1e-5)


def test_106_landmarks_match(section, image, monkeypatch, tmp_path):
    raw = section.input("lmk106_raw").numpy().reshape(1, 212)
    path = write_network(
        tmp_path / "2d106det.onnx", [raw], [1, 3, 192, 192]
    )  # from which the library infers the range of the input
    network = StoredNetwork([1, 3, 192, 192], [raw])
    landmarks = load_stored(monkeypatch, load_landmarks106, network, path=path)
    actual = detect_landmarks106(landmarks, image, np.asarray(section.input("face_bbox")))
    check_input(section, "lmk106_blob", network.blob, 1)
    section.check("lmk106", actual, 1e-5)


def test_203_landmarks_match(section, image):
    blob, to_original = insightface.prepare_landmarks_input(section.input("image"), section.stored["lmk106"])
    check_input(section, "lmk203_input", blob, 1 / 255)
    section.check("lmk203", insightface.decode_landmarks(section.input("lmk203_raw").numpy(), to_original), 1e-5)


def test_203_landmarks_of_a_whole_image_match(section, image):
    # Without initial landmarks, the reference uses a square with the longer side of the image.
    side = max(image.shape)
    to_original = np.diag([side / 224, side / 224, 1.0])
    section.check("lmk203_nolmk", insightface.decode_landmarks(section.input("lmk203_raw").numpy(), to_original), 1e-5)
