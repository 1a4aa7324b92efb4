"""The mean head of the built-in model, and its mesh in the center of a crop."""

import numpy as np
import pytest

from joyvasa.sample.training.training_media import EYES_APART, EYES_AT, SIZE
from tests.media import DATA


@pytest.fixture(scope="session")
def mean():
    with np.load(DATA / "head.npz") as arrays:
        return arrays["mean"].astype(np.float64)


@pytest.fixture
def mesh(mean):
    return mean * EYES_APART * SIZE + np.array([*(np.array(EYES_AT) * SIZE), 0])
