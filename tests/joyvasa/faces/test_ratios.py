import numpy as np
import pytest

from joyvasa.errors import ConfigError
from joyvasa.faces.insightface import compute_eye_ratios, compute_lip_ratios


def test_open_and_closed_lips():
    points = np.zeros((2, 203, 2), dtype=np.float32)
    points[:, 66] = [10, 0]
    points[1, 102] = [5, 4]
    points[1, 90] = [5, -1]
    np.testing.assert_allclose(compute_lip_ratios(points), [[0.0], [0.5]], atol=1e-6)


def test_eyes_have_separate_ratios():
    points = np.zeros((203, 2), dtype=np.float32)
    points[12], points[36] = [10, 0], [10, 0]
    points[18], points[42] = [0, 2], [0, 4]
    np.testing.assert_allclose(compute_eye_ratios(points), [[0.2, 0.4]], atol=1e-6)


def test_ratios_are_independent_of_size():
    points = np.random.default_rng(0).random((203, 2)).astype(np.float32)
    np.testing.assert_allclose(compute_lip_ratios(points * 300 + 7), compute_lip_ratios(points), rtol=1e-3)


def test_other_layouts_are_refused():
    with pytest.raises(ConfigError, match="landmark_layout"):
        compute_lip_ratios(np.zeros((106, 2)))
