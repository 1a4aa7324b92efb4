"""Fréchet distances equal the reference, also for rank-deficient covariances."""

import numpy as np
import pytest
import torch

from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.support.frechet import FeatureMoments, frechet_distance
from tests.golden import metric_recipe
from tests.golden.metric_reference import meta, stored


def features(case):
    if case != 3:
        return stored("frechet")[f"c{case}_x1"], stored("frechet")[f"c{case}_x2"]
    randn, d = metric_recipe.seeded_randn, 400
    with torch.no_grad():
        mix = randn(20743, d, d) / np.sqrt(d)
        second = randn(20763, 400, d) @ mix * 1.2 + 0.3 * randn(20773, 1, d)
        return (randn(20753, 500, d) @ mix).numpy(), second.numpy()


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("case", range(5))
def test_distance_equals_the_reference(case, ddof):
    first, second = (FeatureMoments.from_features(x) for x in features(case))
    expected = meta()["frechet"]["cases"][case]
    distance = frechet_distance(first, second, ddof=ddof)
    assert distance == pytest.approx(expected[f"exact_ddof{ddof}"], rel=1e-6)
    assert np.square(first.mean - second.mean).sum() == pytest.approx(expected["mean_term"], rel=1e-6)


def test_single_samples_have_no_distance():
    first, second = (FeatureMoments.from_features(x) for x in features(5))
    distance = frechet_distance(first, second, ddof=0)
    assert isinstance(distance, NotMeasured)
    assert distance.code == "too_few_samples"
