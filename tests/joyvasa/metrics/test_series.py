"""Filters of series equal those of SciPy."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter1d, uniform_filter1d
from scipy.signal import medfilt

from joyvasa.metrics.beat import motion_beats, smooth_gaussian, sound_beats
from joyvasa.metrics.support.face_tracks import MEDIAN_FRAMES, smooth_squares

LENGTHS = [1, 2, 7, 40, 500]


@pytest.mark.parametrize("n", LENGTHS)
def test_a_smoothed_series_differs_by_rounding_at_most(n):
    values = np.random.default_rng(n).random(n)
    np.testing.assert_allclose(smooth_gaussian(values, 5.0), gaussian_filter(values, 5.0), rtol=1e-14)


def test_a_constant_speed_has_no_beats():
    points = np.broadcast_to(np.arange(300.0)[:, None, None], (300, 3, 3))
    assert motion_beats(points).tolist() == []


@pytest.mark.parametrize("n", [0, *LENGTHS])
def test_onsets_are_those_of_the_filters_of_scipy(n):
    strength = np.random.default_rng(n).random(n) ** 4
    expected = (strength == maximum_filter1d(strength, 7, mode="nearest")) & (
        strength > 1.5 * uniform_filter1d(strength, 25, mode="nearest")
    )
    np.testing.assert_array_equal(sound_beats(strength), np.flatnonzero(expected))
    assert n < 40 or len(sound_beats(strength)) > 1


@pytest.mark.filterwarnings("ignore:kernel_size exceeds volume extent")
@pytest.mark.parametrize("n", LENGTHS)
def test_boxes_are_smoothed_by_the_median_filter_of_scipy(n):
    corners = np.random.default_rng(n).random((n, 2)) * 100
    boxes = np.concatenate([corners, corners + 20 + np.random.default_rng(0).random((n, 2))], axis=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).T
    for actual, values in zip(smooth_squares(boxes), (sides, x, y), strict=True):
        np.testing.assert_array_equal(actual, medfilt(values, MEDIAN_FRAMES))
