"""Augmentation of portraits by moustaches."""

import numpy as np
import pytest

from joyvasa.sample.training.head import Head
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.moustache import NOSE_BASE, draw_moustache
from joyvasa.sample.training.training_media import EYES_APART, EYES_AT, SIZE
from tests.media import DATA

SKIN = (200, 160, 140)


@pytest.fixture(scope="module")
def head():
    with np.load(DATA / "head.npz") as arrays:
        mean = arrays["mean"].astype(np.float64)
    return Head(mean * EYES_APART * SIZE + np.array([*(np.array(EYES_AT) * SIZE), 0]), mean, SIZE)


@pytest.mark.parametrize("seed", range(20))
def test_a_moustache_lies_between_nose_and_mouth_and_leaves_the_lower_lip_free(head, seed):
    picture = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    drawn = draw_moustache(picture, head, np.random.default_rng(seed))
    assert (picture == SKIN).all()

    changed = np.abs(drawn.astype(int) - picture).max(-1) > 10
    at = head.pose.to_image(head.face)[:, :2].round().astype(int)
    points = load_mesh_points()
    middle, nose, lip = at[points.inner_upper_lip, 0], at[NOSE_BASE, 1], at[points.inner_upper_lip, 1]
    rows = np.flatnonzero(changed[:, middle - 2 : middle + 3].any(1))
    assert len(rows) > 3
    assert nose - 3 <= rows.min() < rows.max() <= lip + 3
    for x, y in at[points.lips_lower[2, 3:8]]:
        assert not changed[y, x]


def test_moustaches_differ_and_are_repeatable(head):
    picture = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    first, again, other = (draw_moustache(picture, head, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
