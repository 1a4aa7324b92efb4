"""The volume of a convex hull equals that of Qhull."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from joyvasa.motion.convex_hull import convex_hull_volume

GRID = np.stack(np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("n", [4, 5, 21, 68])
@pytest.mark.parametrize("seed", range(25))
def test_random_points(n, seed):
    points = np.random.default_rng(seed).normal(size=(n, 3)) * [1, 0.5, 0.01] + 5
    assert convex_hull_volume(points) == pytest.approx(ConvexHull(points).volume, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_points_on_a_sphere_are_all_corners(seed):
    points = np.random.default_rng(seed).normal(size=(40, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert convex_hull_volume(points) == pytest.approx(ConvexHull(points).volume, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_points_in_the_faces_of_a_turned_cube_in_any_order(seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert convex_hull_volume(rng.permutation(GRID) @ rotation * 1e-3) == pytest.approx(8e-9, rel=1e-9)


def test_repeated_points_change_nothing():
    points = np.random.default_rng(0).normal(size=(21, 3))
    assert convex_hull_volume(np.repeat(points, 3, axis=0)) == pytest.approx(ConvexHull(points).volume, rel=1e-9)


@pytest.mark.parametrize(
    "points",
    [
        np.empty((0, 3)),
        np.ones((1, 3)),
        np.ones((9, 3)),
        np.eye(3),
        np.linspace(0, 1, 9)[:, None] * [1.0, 2.0, 3.0],
        np.random.default_rng(0).normal(size=(21, 2)) @ np.random.default_rng(1).normal(size=(2, 3)),
    ],
    ids=["none", "one", "the same", "three", "a line", "a plane"],
)
def test_flat_points_have_no_volume(points):
    assert convex_hull_volume(points) == 0
