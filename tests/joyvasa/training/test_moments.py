import itertools

import numpy as np
import pytest

from joyvasa.training.moments import ExactMoments, merge_moments, moments_from_json, moments_to_json


@pytest.fixture
def values():
    draw = np.random.default_rng(0)
    scales = np.array([1e-30, 1e-3, 1.0, 200.0, 1e20])
    return (draw.normal(3, 1, (500, 5)) * scales).astype(np.float32)


def merge(parts):
    return merge_moments([{"x": ExactMoments.from_values(part)} for part in parts])["x"]


def test_statistics_are_those_of_all_frames(values):
    arrays, exact = ExactMoments.from_values(values).arrays("x"), values.astype(np.longdouble)
    np.testing.assert_allclose(arrays["mean_x"], exact.mean(axis=0).astype(np.float64), rtol=1e-14)
    np.testing.assert_allclose(arrays["std_x"], exact.std(axis=0).astype(np.float64), rtol=1e-12)
    assert (arrays["min_x"] == values.min(axis=0)).all()
    assert (arrays["max_x"] == values.max(axis=0)).all()
    assert (arrays["abs_max_x"] == np.abs(values).max(axis=0)).all()


def test_any_division_into_shards_in_any_order_gives_the_same_bits(values):
    whole = ExactMoments.from_values(values)
    for order in itertools.permutations((values[:1], values[1:130], values[130:490], values[490:])):
        assert merge(order) == whole


def test_a_large_mean_does_not_cancel_the_deviation():
    values = (10_000 + np.random.default_rng(0).normal(size=(1000, 1))).astype(np.float32)
    std = ExactMoments.from_values(values).arrays("x")["std_x"]
    np.testing.assert_allclose(std, values.astype(np.float64).std(axis=0), rtol=1e-12)


def test_constant_values_have_no_deviation():
    assert ExactMoments.from_values(np.full((7, 2), 0.1, np.float32)).arrays("x")["std_x"].tolist() == [0, 0]


def test_the_smallest_numbers_count():
    tiny = np.full((3, 1), 2.0**-149, np.float32)
    assert ExactMoments.from_values(tiny).arrays("x")["mean_x"].tolist() == [2.0**-149]


def test_moments_survive_serialization(values):
    moments = {"x": ExactMoments.from_values(values), "y": ExactMoments.from_values(values[:, :1])}
    assert moments_from_json(moments_to_json(moments)) == moments


@pytest.mark.parametrize("text", ['{"x": {"count": 1, "sums": [1], "squares": [], "least": [], "largest": []}}', "[]"])
def test_other_texts_are_refused(text):
    with pytest.raises((ValueError, AttributeError)):
        moments_from_json(text)
