"""Smoothed motion equals the reference."""

import pytest
import torch

from joyvasa.motion.smoothing import SmoothingConfig, kalman_smooth, smooth_motion
from tests.golden.reference import Section, read_motion
from tests.motions import motion_to_arrays

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def section():
    return Section("smooth")


@pytest.mark.parametrize("method", ["ema", "median", "mean"])
def test_smoothed_motion_matches(section, method):
    smoothed = smooth_motion(read_motion(section), SmoothingConfig(method))
    for key, array in motion_to_arrays(smoothed).items():
        if key != "fps":
            section.check(f"{method}_{key}", array, TOLERANCE)


def test_kalman_smoother_matches(section):
    config = SmoothingConfig()
    values = section.input("kalman_in")[:, 0].to(torch.float64).numpy()
    smoothed = kalman_smooth(values, config.kalman_process_variance, config.kalman_observation_variance)
    section.check("kalman", smoothed, TOLERANCE)
