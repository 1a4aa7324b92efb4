"""Training data of the detector and the landmarks of animals."""

import shutil

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.sample.networks.animal_landmarks import FACE_STRIDE, FACE_UNIT, LANDMARKS, WINDOW_PIXELS
from joyvasa.sample.training.animal_media import AnimalPicture, eye_centers, face_axis, load_animals, measure_unit
from joyvasa.sample.training.animal_samples import SCENE_PIXELS, AnimalSampler, SceneFace
from joyvasa.sample.training.animals_task import draw_face_maps
from joyvasa.sample.training.drawn_animals import SIDE, UNIT, draw_animal
from tests.media import MEDIA


@pytest.fixture(scope="module")
def drawing():
    return draw_animal(np.random.default_rng(3))


def test_landmarks_of_drawings_are_inside_the_drawing_and_in_order():
    for seed in range(20):
        drawing = draw_animal(np.random.default_rng(seed))
        at = dict(zip(LANDMARKS, drawing.points, strict=True))
        assert measure_unit(drawing.points) == pytest.approx(UNIT, rel=0.02)
        assert at["forehead"][1] < at["left_upper_lid"][1] < at["left_lower_lid"][1] < at["chin"][1] < SIDE
        assert at["right_corner"][0] < at["left_corner"][0]
        assert at["upper_lip"][1] <= at["lower_lip"][1]
        x, y = drawing.points[LANDMARKS.index("nose")].round().astype(int)
        assert drawing.mask[y, x] == 255


def test_a_seed_gives_the_same_drawing():
    first, second = (draw_animal(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.points, second.points)


def test_landmarks_follow_the_picture_into_windows_and_scenes(drawing):
    """The nose of this animal is a white square, so that it can be found again."""
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    x, y = drawing.points[LANDMARKS.index("nose")].round().astype(int)
    image[y - 6 : y + 7, x - 6 : x + 7] = 255
    animal = AnimalPicture("photo", image, np.full((SIDE, SIDE), 255, np.uint8), drawing.points)
    sampler = AnimalSampler([animal], [], seed=0)
    sampler._recolor = lambda image: image.astype(np.float32)  # type: ignore[method-assign]
    sampler._degrade = lambda image, hide=False: image  # type: ignore[method-assign]
    sampler._draw_background = lambda size: np.full((size, size, 3), 128, np.float32)  # type: ignore[method-assign]
    sampler._pick_animal = lambda: animal  # type: ignore[method-assign]
    checked = 0
    for _ in range(12):
        window, points = sampler.draw_window()
        rows, columns = np.nonzero(window[..., 0] > 200)
        nose = (points[LANDMARKS.index("nose")] + 1) * WINDOW_PIXELS / 2 - 0.5
        if len(rows) > 10 and 6 < nose.min() and nose.max() < WINDOW_PIXELS - 6:
            np.testing.assert_allclose([columns.mean(), rows.mean()], nose, atol=1.5)
            checked += 1
    assert checked > 6


def test_maps_of_faces_lead_back_to_the_faces():
    face = SceneFace(np.array([70.0, 41.0]), 30.0, np.array([0.0, 1.0]))
    maps = draw_face_maps([face], SCENE_PIXELS // FACE_STRIDE)
    row, column = np.unravel_index(maps[0].argmax(), maps[0].shape)
    offset = maps[1:3, row, column]
    center = (np.array([column, row]) + 0.5 + offset) * FACE_STRIDE - 0.5
    np.testing.assert_allclose(center, face.center, atol=1e-4)
    assert np.exp(maps[3, row, column]) * FACE_UNIT == pytest.approx(30.0)
    np.testing.assert_allclose(maps[4:6, row, column], face.down)
    assert not draw_face_maps([], 24).any()


def test_annotated_pictures_are_loaded_with_their_masks(tmp_path):
    shutil.copyfile(MEDIA / "animals/s30.jpg", tmp_path / "s30.jpg")
    (animal,) = load_animals(tmp_path)
    assert animal.mask.shape == animal.image.shape[:2]
    x, y = eye_centers(animal.points).mean(0).round().astype(int)
    assert animal.mask[y, x] == 255
    assert face_axis(animal.points)[1] > 0.8


def test_a_folder_without_annotated_pictures_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no annotated picture"):
        load_animals(tmp_path)
