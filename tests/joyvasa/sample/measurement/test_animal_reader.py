import numpy as np
import pytest
import torch

from joyvasa.motion.keypoints import head_rotation
from joyvasa.sample.measurement.animal_reader import estimate_turn
from joyvasa.sample.networks.animal_motion_extractor import DEPTHS
from joyvasa.sample.networks.points import NOSE_BRIDGE, NOSE_TIP


@pytest.mark.parametrize("yaw", [-15.0, 0.0, 10.0])
def test_the_turn_of_a_head_is_read_from_its_nose(yaw):
    points = torch.zeros(2, 21, 3)
    for keypoint in (NOSE_BRIDGE, NOSE_TIP):
        points[:, keypoint, 2] = 0.4 * DEPTHS[keypoint]
    turned = points @ head_rotation(torch.zeros(2, 1), torch.full((2, 1), yaw), torch.zeros(2, 1))
    assert np.allclose(estimate_turn(turned.numpy(), np.full(2, 0.4)), yaw, atol=1e-3)
