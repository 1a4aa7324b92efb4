"""Augmentations of eyes: large eyes and blank eyes."""

import cv2
import numpy as np
import pytest

from joyvasa.sample.training.eyes import MAX_GROWTH, REACH, EnlargedEyes, blank_eyes, to_grayscale
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE
from joyvasa.sample.training.head import Head
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.training_media import SIZE


def spot(center):
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    cv2.circle(picture, tuple(np.round(center * 16).astype(int).tolist()), 32, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return picture


def center_of(picture):
    rows, columns = np.nonzero(picture[..., 0] > 100)
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("growth", [1.3, MAX_GROWTH])
def test_lids_of_large_eyes_are_further_apart_and_pixels_move_with_them(mesh, growth):
    large = EnlargedEyes(mesh, growth)
    moved = large.move_points(mesh)
    for upper, lower in load_mesh_points().eyes:
        before, after = (points[lower[4], 1] - points[upper[4], 1] for points in (mesh, moved))
        assert 1 + 0.7 * (growth - 1) < after / before <= growth
        for lid in (upper[4], lower[4]):
            assert center_of(large.warp_picture(spot(mesh[lid, :2]))) == pytest.approx(moved[lid, :2], abs=0.7)


def test_the_warp_is_local_and_growth_1_is_the_identity(mesh):
    large, apart = (
        EnlargedEyes(mesh, MAX_GROWTH),
        np.linalg.norm(mesh[LEFT_EYE, :2].mean(0) - mesh[RIGHT_EYE, :2].mean(0)),
    )
    middles = [mesh[corners, :2].mean(0) for corners in (RIGHT_EYE, LEFT_EYE)]
    away = np.min([np.linalg.norm(mesh[:, :2] - middle, axis=1) for middle in middles], axis=0) > REACH * apart
    assert away.sum() > 200
    assert np.array_equal(large.move_points(mesh)[away], mesh[away])
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    assert np.array_equal(EnlargedEyes(mesh, 1.0).warp_picture(noise), noise)


def test_the_skin_around_an_eye_never_folds(mesh):
    grown = EnlargedEyes(mesh, MAX_GROWTH)._warp_distance(np.linspace(0, 1, 1000))
    assert (np.diff(grown) > 0).all()
    assert grown[[0, -1]] == pytest.approx([0, 1])


def test_blank_eyes_have_no_iris_and_the_face_is_unchanged(mesh, mean):
    head = Head(mesh, mean, SIZE)
    picture = np.full((SIZE, SIZE, 3), (200, 160, 140), np.uint8)
    for upper, lower in load_mesh_points().eyes:
        middle = mesh[[upper[4], lower[4]], :2].mean(0)
        cv2.circle(picture, tuple(middle.round().astype(int).tolist()), 3, (10, 20, 30), -1)
    blank, carved = (blank_eyes(picture, head, carved=share) for share in (0.0, 1.0))
    for upper, lower in load_mesh_points().eyes:
        x, y = mesh[[upper[4], lower[4]], :2].mean(0).round().astype(int)
        assert picture[y, x].max() < 40
        assert blank[y, x].min() > 100
        assert (blank[y, x] > carved[y, x]).all()
    assert np.array_equal(blank[SIZE // 2 + 20 :], picture[SIZE // 2 + 20 :])


def test_a_gray_picture_keeps_its_luminance():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [80, 80, 80]]], np.uint8)
    gray = to_grayscale(picture)
    assert np.array_equal(gray, np.repeat(gray[..., :1], 3, axis=-1))
    assert gray[0, :, 0] == pytest.approx([76.2, 149.7, 80], abs=0.1)
