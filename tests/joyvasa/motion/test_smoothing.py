import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from joyvasa.errors import ConfigError
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import (
    SmoothingConfig,
    kalman_smooth,
    moving_average,
    smooth_motion,
    trailing_mean,
    trailing_median,
)


def noisy_motion(n_frames=50):
    generator = torch.Generator().manual_seed(0)
    expression = 0.03 * torch.randn(n_frames, 21, 3, generator=generator)
    return MotionSequence.from_pose(expression, torch.randn(n_frames, 7, generator=generator), 30.0)


def roughness(values):
    return values.diff(dim=0).abs().mean()


@pytest.mark.parametrize("method", ["ema", "median", "mean"])
def test_pose_is_smoothed_and_expression_is_unchanged(method):
    motion = noisy_motion()
    smoothed = smooth_motion(motion, SmoothingConfig(method))
    assert roughness(smoothed.pose) < roughness(motion.pose)
    torch.testing.assert_close(smoothed.expression, motion.expression, rtol=0, atol=0)
    assert smoothed.frames_per_second == 30.0


def test_kalman_smooths_expression_too():
    motion = noisy_motion()
    smoothed = smooth_motion(motion, SmoothingConfig("kalman", kalman_observation_variance=1e-4))
    assert roughness(smoothed.expression) < 0.7 * roughness(motion.expression)
    assert roughness(smoothed.pose) < 0.7 * roughness(motion.pose)


def test_none_returns_the_motion():
    motion = noisy_motion()
    assert smooth_motion(motion, SmoothingConfig("none")) is motion


@pytest.mark.parametrize("method", ["ema", "median", "mean", "kalman"])
@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_short_and_still_motion_is_unchanged(method, n_frames):
    frame = noisy_motion(1)
    still = MotionSequence.from_pose(frame.expression.expand(n_frames, -1, -1), frame.pose.expand(n_frames, -1))
    smoothed = smooth_motion(still, SmoothingConfig(method))
    torch.testing.assert_close(smoothed.pose, still.pose)
    torch.testing.assert_close(smoothed.expression, still.expression)


def test_windows_are_trailing_and_shorter_at_the_start():
    values = np.array([[1.0], [5.0], [3.0], [100.0]])
    np.testing.assert_allclose(trailing_median(values, 3)[:, 0], [1, 3, 3, 5])
    np.testing.assert_allclose(trailing_mean(values, 2)[:, 0], [1, 3, 4, 51.5])
    np.testing.assert_allclose(moving_average(values, 0.25)[:, 0], [1, 2, 2.25, 26.6875])


@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0])
def test_the_moving_average_equals_a_recursive_filter(weight):
    values = np.random.default_rng(0).normal(size=(200, 7))
    expected, _ = lfilter([weight], [1, weight - 1], values, axis=0, zi=(1 - weight) * values[:1])
    np.testing.assert_array_equal(moving_average(values, weight), expected)


def test_animating_does_not_import_scipy_signal():
    code = (
        "import sys, numpy, joyvasa.animator, joyvasa.motion.smoothing as smoothing\n"
        "smoothing.moving_average(numpy.ones((3, 7)), 0.5)\n"
        "print('scipy.signal' in sys.modules)"  # a second of the start of every worker
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


def test_kalman_equals_the_direct_solution():
    # The posterior mean of a Gaussian random walk: one linear system over all frames.
    values = np.random.default_rng(0).normal(size=(8, 3))
    process, observation = 0.3, 0.7
    precision = np.eye(8) / observation
    precision[0, 0] += 1.0  # first frame: mean values[0], variance 1
    for frame in range(7):
        precision[frame : frame + 2, frame : frame + 2] += np.array([[1, -1], [-1, 1]]) / process
    target = values / observation
    target[0] += values[0]
    np.testing.assert_allclose(
        kalman_smooth(values, process, observation), np.linalg.solve(precision, target), atol=1e-12
    )


@pytest.mark.parametrize(
    "option", [{"method": "blur"}, {"ema_weight": 0.0}, {"mean_frames": 0}, {"kalman_process_variance": -1.0}]
)
def test_invalid_options_are_rejected_by_name(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        SmoothingConfig(**option)
