"""Eyes of drawings and statues, made of those of photographs."""

import cv2
import numpy as np
import pytest

from joyvasa.sample.training.eyes import MOST_GROWN, REACH, LargeEyes, faded, with_blank_eyes
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE
from joyvasa.sample.training.head import Head
from joyvasa.sample.training.mesh_points import mesh_points
from joyvasa.sample.training.pictures import EYES_APART, EYES_AT, SIZE
from tests.media import DATA


@pytest.fixture
def mean():
    with np.load(DATA / "head.npz") as arrays:
        return arrays["mean"].astype(np.float64)


@pytest.fixture
def mesh(mean):
    return mean * EYES_APART * SIZE + np.array([*(np.array(EYES_AT) * SIZE), 0])


def spot(centre):
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    cv2.circle(picture, tuple(np.round(centre * 16).astype(int).tolist()), 32, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return picture


def centre_of(picture):
    rows, columns = np.nonzero(picture[..., 0] > 100)
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("growth", [1.3, MOST_GROWN])
def test_lids_of_large_eyes_are_further_apart_and_pixels_go_with_them(mesh, growth):
    large = LargeEyes(mesh, growth)
    moved = large.points(mesh)
    for upper, lower in mesh_points().eyes:
        before, after = (points[lower[4], 1] - points[upper[4], 1] for points in (mesh, moved))
        assert 1 + 0.7 * (growth - 1) < after / before <= growth
        for lid in (upper[4], lower[4]):
            assert centre_of(large.picture(spot(mesh[lid, :2]))) == pytest.approx(moved[lid, :2], abs=0.7)


def test_nothing_moves_away_from_eyes_and_eyes_of_their_size_stay(mesh):
    large, apart = LargeEyes(mesh, MOST_GROWN), np.linalg.norm(mesh[LEFT_EYE, :2].mean(0) - mesh[RIGHT_EYE, :2].mean(0))
    middles = [mesh[corners, :2].mean(0) for corners in (RIGHT_EYE, LEFT_EYE)]
    away = np.min([np.linalg.norm(mesh[:, :2] - middle, axis=1) for middle in middles], axis=0) > REACH * apart
    assert away.sum() > 200
    assert np.array_equal(large.points(mesh)[away], mesh[away])
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    assert np.array_equal(LargeEyes(mesh, 1.0).picture(noise), noise)


def test_the_skin_around_an_eye_is_stretched_and_never_folded(mesh):
    grown = LargeEyes(mesh, MOST_GROWN)._grown(np.linspace(0, 1, 1000))
    assert (np.diff(grown) > 0).all()
    assert grown[[0, -1]] == pytest.approx([0, 1])


def test_blank_eyes_have_no_iris_and_the_face_stays(mesh, mean):
    head = Head(mesh, mean, SIZE)
    picture = np.full((SIZE, SIZE, 3), (200, 160, 140), np.uint8)
    for upper, lower in mesh_points().eyes:
        middle = mesh[[upper[4], lower[4]], :2].mean(0)
        cv2.circle(picture, tuple(middle.round().astype(int).tolist()), 3, (10, 20, 30), -1)
    blank, carved = (with_blank_eyes(picture, head, carved=share) for share in (0.0, 1.0))
    for upper, lower in mesh_points().eyes:
        x, y = mesh[[upper[4], lower[4]], :2].mean(0).round().astype(int)
        assert picture[y, x].max() < 40
        assert blank[y, x].min() > 100
        assert (blank[y, x] > carved[y, x]).all()
    assert np.array_equal(blank[SIZE // 2 + 20 :], picture[SIZE // 2 + 20 :])


def test_a_faded_picture_has_its_light_and_no_colour():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [80, 80, 80]]], np.uint8)
    grey = faded(picture)
    assert np.array_equal(grey, np.repeat(grey[..., :1], 3, axis=-1))
    assert grey[0, :, 0] == pytest.approx([76.2, 149.7, 80], abs=0.1)
