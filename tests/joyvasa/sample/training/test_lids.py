"""Lids of the head in blinks."""

import numpy as np
import pytest

from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.head import LID_OPENING, Expression, Head
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.training_media import SIZE


@pytest.fixture
def head(mesh, mean):
    return Head(mesh, mean, SIZE)


def test_shut_lids_are_a_slit_and_never_the_same_points(head):
    """Coinciding points would lose their triangles, and the eye would be visible between the lids."""
    shut = head.apply_expression(Expression(blink=(1.0, 1.0)))
    for upper, lower in load_mesh_points().eyes:
        opening = (shut[lower] - shut[upper])[1:-1, 1]
        assert (opening > 0.005).all()
        assert (opening < 0.05).all()


def test_the_mesh_covers_all_of_an_eyeball(mean, head):
    for upper, lower in load_mesh_points().eyes:
        assert (head.face[lower[4]] - head.face[upper[4]])[1] > (mean[lower[4]] - mean[upper[4]])[1] + 0.01


def test_keypoints_of_open_lids_do_not_depend_on_the_person(head):
    points = head.keypoints(head.face, (0.0, 0.0), head.pose)
    for above, below in (RIGHT_LIDS, LEFT_LIDS):
        gap = np.linalg.norm(points[below] - points[above]) / head.pose.scale
        assert abs(gap - LID_OPENING) < 1e-6
