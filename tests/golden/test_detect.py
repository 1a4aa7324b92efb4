import cv2
import numpy as np
import pytest

from joyvasa.faces import landmarks, scrfd
from joyvasa.faces.detection import Face, sort_faces
from tests.golden.reference import Section, needs_golden

pytestmark = needs_golden

VARIANT = "_cv410" if int(cv2.__version__.split(".")[0]) < 5 else ""


@pytest.fixture(scope="module")
def section() -> Section:
    return Section("detect", VARIANT)


@pytest.fixture(scope="module")
def image(section) -> np.ndarray:
    """The stored results were made from this picture taken as BGR."""
    return np.ascontiguousarray(section.input("image")[..., ::-1])


@pytest.fixture(scope="module")
def found(section, image) -> scrfd.Detections:
    _, factor = scrfd.letterbox(image)
    scores = [section.input(f"score{level}").numpy() ** 400 for level in range(3)]
    outputs = [section.input(f"{kind}{level}").numpy() for kind in ("bbox", "kps") for level in range(3)]
    candidates = scrfd.decode([*scores, *outputs], side=512, factor=factor, threshold=0.1)
    return candidates.take(scrfd.suppress(candidates.boxes))


def check_input(section: Section, name: str, actual: np.ndarray, level: float) -> None:
    """Exact with the OpenCV that the data were made with, four levels with others, as for pictures."""
    section.check(name, actual, 1e-5, absolute=None if VARIANT else 4 * level)


def test_letterboxed_input_matches(section, image):
    section.check("det_blob", scrfd.letterbox(image)[0], 1e-5)


def test_decoded_faces_match(section, found):
    section.check("det", np.concatenate([found.boxes, found.scores[:, None]], axis=1), 1e-5)
    section.check("det_kps", found.keypoints, 1e-5)


def test_limited_number_of_faces_matches(section, image, found):
    kept = scrfd.keep_central(found, image.shape, 3)
    section.check("det_max3", np.concatenate([kept.boxes, kept.scores[:, None]], axis=1), 1e-5)


@pytest.mark.parametrize("order", ["large-small", "small-large", "left-right", "top-bottom"])
def test_orders_match(section, found, order):
    faces = [Face(box, 1.0, np.zeros((5, 2), dtype=np.float32)) for box in found.boxes]
    section.check(f"order_{order}", np.stack([face.box for face in sort_faces(faces, order)]), 1e-5)


def test_106_landmarks_match(section, image):
    blob, to_original = landmarks.input_106(image, section.input("face_bbox"))
    check_input(section, "lmk106_blob", blob, 1)
    section.check("lmk106", landmarks.points_106(section.input("lmk106_raw").numpy(), to_original), 1e-5)


def test_203_landmarks_match(section, image):
    blob, to_original = landmarks.input_203(section.input("image"), section.stored["lmk106"])
    check_input(section, "lmk203_input", blob, 1 / 255)
    section.check("lmk203", landmarks.points_203(section.input("lmk203_raw").numpy(), to_original), 1e-5)


def test_203_landmarks_of_a_whole_picture_match(section, image):
    # Without landmarks to start from the reference shows the network the picture in a square of its longer side.
    side = max(image.shape)
    to_original = np.diag([side / 224, side / 224, 1.0])
    section.check("lmk203_nolmk", landmarks.points_203(section.input("lmk203_raw").numpy(), to_original), 1e-5)
