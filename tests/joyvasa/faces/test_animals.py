import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from joyvasa.errors import ModelError
from joyvasa.faces import animals
from joyvasa.faces.animals import AnimalDetector, load_animal_network
from joyvasa.faces.square import compute_reference_points
from joyvasa.media.image import read_image, resize_to_limit
from joyvasa.sample.training.animal_media import annotated_points, eye_centers, measure_unit
from tests.joyvasa.faces.animals import CAT_EYES, draw_cat
from tests.media import DATA, MEDIA

ANIMALS = sorted(path.name for path in (MEDIA / "animals").iterdir())


@pytest.fixture(scope="module")
def detector() -> AnimalDetector:
    return AnimalDetector(load_animal_network())


def eyes_of(face) -> np.ndarray:
    """Return the centers of the left and the right eye of the picture."""
    return np.stack([face.landmarks[2:4].mean(axis=0), face.landmarks[:2].mean(axis=0)])


def roll_of(eyes) -> float:
    across = np.subtract(eyes[1], eyes[0])
    return math.degrees(math.atan2(across[1], across[0]))


def test_a_drawn_cat_is_detected_with_nine_landmarks_in_the_order_of_xpose(detector):
    (face,) = detector.detect(draw_cat())
    assert face.landmarks.shape == (9, 2)
    np.testing.assert_allclose(eyes_of(face), CAT_EYES, atol=12)
    right, left, nose, lip_right, lip_left, upper, lower = (
        face.landmarks[index].reshape(-1, 2).mean(0) for index in ([0, 1], [2, 3], 4, 5, 6, 7, 8)
    )
    assert right[0] > nose[0] > left[0]
    assert lip_right[0] > nose[0] > lip_left[0]
    assert lower[1] > upper[1] > nose[1] > right[1]
    eyes, mouth = compute_reference_points(face.landmarks)
    assert abs(mouth[0] - eyes[0]) < 12
    assert face.lip_ratio is None


@pytest.mark.parametrize("degrees", [-25, 25])
def test_the_roll_is_detected_and_the_crop_is_upright_with_the_eyes_where_the_networks_expect_them(detector, degrees):
    image = draw_cat(degrees=degrees)
    (face,) = detector.detect(image)
    assert roll_of(eyes_of(face)) == pytest.approx(degrees, abs=8)
    crop = face.crop(image)
    eyes = np.stack([crop.landmarks[2:4].mean(axis=0), crop.landmarks[:2].mean(axis=0)])
    assert roll_of(eyes) == pytest.approx(0, abs=8)
    assert eyes.mean(axis=0) / 512 == pytest.approx([0.5, 0.4945], abs=0.003)


@pytest.mark.parametrize("size", [96, 1200])
def test_small_and_large_pictures_give_the_same_face(detector, size):
    image = draw_cat()
    other = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if size < 400 else cv2.INTER_CUBIC)
    (face,), (expected,) = detector.detect(other), detector.detect(image)
    np.testing.assert_allclose(face.landmarks * (400 / size), expected.landmarks, atol=12)


def test_a_small_face_in_a_large_picture_is_found(detector):
    picture = np.full((600, 800, 3), 210, np.uint8)
    picture[380:500, 560:680] = cv2.resize(draw_cat(), (120, 120), interpolation=cv2.INTER_AREA)
    (face,) = detector.detect(picture)
    np.testing.assert_allclose(eyes_of(face), np.array(CAT_EYES) * 0.3 + [560, 380], atol=6)


def test_two_animals_are_two_faces_and_the_larger_one_comes_first(detector):
    small = cv2.resize(draw_cat(), (280, 280), interpolation=cv2.INTER_AREA)
    picture = np.full((400, 680, 3), 235, np.uint8)
    picture[:, :400], picture[60:340, 400:] = draw_cat(), small
    faces = detector.detect(picture)
    assert len(faces) == 2
    assert faces[0].side > faces[1].side


@pytest.mark.parametrize("size", [(200, 300), (32, 32), (40, 1200), (19, 19)])
def test_a_picture_without_an_animal_has_no_face(detector, size):
    assert detector.detect(np.full((*size, 3), 128, dtype=np.uint8)) == []


def test_a_person_is_less_certain_than_a_cat(detector):
    person, cat = (detector.score_best(image) for image in (read_image(DATA / "portrait.jpg"), draw_cat()))
    assert person < 0.7 < cat


def test_threads_may_share_a_detector(detector):
    pictures = [draw_cat(), draw_cat(degrees=20)] * 2
    expected = [detector.detect(picture)[0].box for picture in pictures[:2]] * 2
    with ThreadPoolExecutor(2) as pool:
        actual = [faces[0].box for faces in pool.map(detector.detect, pictures)]
    np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_a_package_without_the_weights_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(animals, "WEIGHTS", tmp_path / "missing.safetensors")
    with pytest.raises(ModelError, match=r"missing\.safetensors: not found"):
        load_animal_network()


@pytest.mark.parametrize("name", ANIMALS)
def test_eyes_nose_and_mouth_of_real_animals_are_located(detector, name):
    path = MEDIA / "animals" / name
    image = resize_to_limit(read_image(path), max_side=1280, division=2)
    face = detector.detect(image)[0]
    points = annotated_points(path)
    assert points is not None
    points = points * (image.shape[1] / read_image(path).shape[1])
    eyes = eye_centers(points)
    expected = np.array([eyes[1], eyes[0], points[4], points[6], points[5]])
    found = np.array([face.landmarks[:2].mean(0), face.landmarks[2:4].mean(0), *face.landmarks[4:7]])
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.2 * measure_unit(points)
