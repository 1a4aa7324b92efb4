import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from joyvasa.errors import ModelError
from joyvasa.faces import haar
from joyvasa.faces.animal_cascade import AnimalCascadeDetector
from joyvasa.faces.square import compute_reference_points
from joyvasa.media.image import read_image, resize_to_limit
from tests.joyvasa.faces.animals import CAT_EYES, draw_cat
from tests.media import MEDIA

# Positions of the eyes, annotated by hand.
EYES = {
    "joyvasa_001.jpg": ((399, 296), (597, 290)),
    "s30.jpg": ((96, 113), (158, 113)),
    "s32.jpg": ((111, 105), (173, 104)),
    "s39.jpg": ((368, 426), (560, 368)),
    "s41.jpg": ((88, 116), (165, 117)),
}


@pytest.fixture(scope="module")
def detector() -> AnimalCascadeDetector:
    return AnimalCascadeDetector()


def eyes_of(face) -> np.ndarray:
    """Return the centers of the left and the right eye of the picture."""
    return np.stack([face.landmarks[2:4].mean(axis=0), face.landmarks[:2].mean(axis=0)])


def roll_of(eyes) -> float:
    across = np.subtract(eyes[1], eyes[0])
    return math.degrees(math.atan2(across[1], across[0]))


def test_a_drawn_cat_is_detected_with_nine_landmarks_in_the_order_of_xpose(detector):
    (face,) = detector.detect(draw_cat())
    assert face.landmarks.shape == (9, 2)
    np.testing.assert_allclose(eyes_of(face), CAT_EYES, atol=16)
    first_right, first_left, second_right, second_left, nose, lip_right, lip_left, upper, lower = face.landmarks
    assert first_right[0] > first_left[0] > second_right[0] > second_left[0]
    assert lip_right[0] > nose[0] > lip_left[0]
    assert lower[1] > upper[1] > nose[1] > first_left[1]
    eyes, mouth = compute_reference_points(face.landmarks)
    np.testing.assert_allclose(mouth - eyes, [0, mouth[1] - eyes[1]], atol=1)
    assert face.lip_ratio is None


@pytest.mark.parametrize("degrees", [-20, 20])
def test_the_roll_is_detected_and_the_crop_is_upright(detector, degrees):
    image = draw_cat(degrees=degrees)
    (face,) = detector.detect(image)
    assert roll_of(eyes_of(face)) == pytest.approx(degrees, abs=11)
    crop = face.crop(image)
    eyes = np.stack([crop.landmarks[2:4].mean(axis=0), crop.landmarks[:2].mean(axis=0)])
    assert roll_of(eyes) == pytest.approx(0, abs=0.5)
    assert eyes.mean(axis=0) / 512 == pytest.approx([0.5, 0.45], abs=0.05)


def test_a_large_picture_gives_the_same_face(detector):
    image = draw_cat()
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    (face,), (expected,) = detector.detect(large), detector.detect(image)
    np.testing.assert_allclose(face.landmarks / 3, expected.landmarks, atol=8)


def test_two_animals_are_two_faces(detector):
    small = cv2.resize(draw_cat(), (280, 280), interpolation=cv2.INTER_AREA)
    picture = np.full((400, 680, 3), 235, np.uint8)
    picture[:, :400], picture[60:340, 400:] = draw_cat(), small
    faces = detector.detect(picture)
    assert len(faces) == 2
    assert faces[0].side > faces[1].side


@pytest.mark.parametrize("size", [(200, 300), (32, 32), (40, 1200), (19, 19)])
def test_a_picture_without_an_animal_has_no_face(detector, size):
    assert detector.detect(np.full((*size, 3), 128, dtype=np.uint8)) == []


def test_threads_may_share_a_detector(detector):
    pictures = [draw_cat(), draw_cat(degrees=20)] * 2
    expected = [detector.detect(picture)[0].box for picture in pictures[:2]] * 2
    with ThreadPoolExecutor(2) as pool:
        actual = [faces[0].box for faces in pool.map(detector.detect, pictures)]
    np.testing.assert_array_equal(actual, expected)


def test_opencv_without_cascades_is_an_error(monkeypatch):
    monkeypatch.setattr(haar.cv2.data, "haarcascades", "/nowhere")
    with pytest.raises(ModelError, match="detector cascade is not available"):
        AnimalCascadeDetector()


@pytest.mark.parametrize("name", EYES)
def test_eyes_of_real_cats_and_dogs_are_located(detector, name):
    image = resize_to_limit(read_image(MEDIA / "animals" / name), max_side=1280, division=2)
    (face,) = detector.detect(image)
    assert np.abs(eyes_of(face) - EYES[name]).max() < 0.12 * face.side
    assert roll_of(eyes_of(face)) == pytest.approx(roll_of(EYES[name]), abs=8)


def test_the_muzzle_of_an_alpaca_is_mistaken_for_its_face(detector):
    """A known limitation: the nostrils look like the eyes of a cat. Users can give a face crop without detector."""
    (face,) = detector.detect(read_image(MEDIA / "animals/joyvasa_002.jpg"))
    eyes_y, mouth_y = 320, 425
    assert eyes_y < face.landmarks[:, 1].min()
    assert face.landmarks[:, 1].max() == pytest.approx(mouth_y, abs=20)
