import numpy as np
import pytest
import torch

from joyvasa.motion.keypoints import head_rotation
from joyvasa.sample.measurement.animal_reader import estimate_nods, estimate_tilt, estimate_turn
from joyvasa.sample.networks.animal_motion_extractor import DEPTHS
from joyvasa.sample.networks.points import LEFT_LIDS, NOSE_TIP


@pytest.mark.parametrize("yaw", [-15.0, 0.0, 10.0])
def test_the_turn_of_a_head_is_read_from_its_nose(yaw):
    points = torch.zeros(2, 21, 3)
    points[:, NOSE_TIP, 2] = 0.4 * DEPTHS[NOSE_TIP]
    turned = points @ head_rotation(torch.zeros(2, 1), torch.full((2, 1), yaw), torch.zeros(2, 1))
    assert np.allclose(estimate_turn(turned.numpy(), np.full(2, 0.4)), yaw, atol=1e-3)


@pytest.mark.parametrize("angle", [-15.0, 10.0])
def test_nods_and_tilts_of_a_head_are_read(angle):
    points = torch.zeros(2, 21, 3)
    points[:, NOSE_TIP] = torch.tensor([0.0, 0.2, 0.4 * DEPTHS[NOSE_TIP]])
    points[:, list(LEFT_LIDS), 0] = 0.4
    still, moved = torch.zeros(2, 1), torch.tensor([[0.0], [angle]])
    assert np.allclose(estimate_nods((points @ head_rotation(moved, still, still)).numpy(), 0.4), [0, angle], atol=1e-3)
    assert np.allclose(estimate_tilt((points @ head_rotation(still, still, moved)).numpy()), [0, angle], atol=1e-3)
