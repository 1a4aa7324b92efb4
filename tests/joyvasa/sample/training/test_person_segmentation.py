"""Person segmentation, if its network is installed."""

import cv2
import numpy as np
import pytest

from joyvasa.errors import EnvironmentFault
from joyvasa.sample.training.person_segmentation import PersonSegmenter
from tests.media import EXAMPLES


def test_a_person_is_segmented_from_the_background():
    pytest.importorskip("ai_edge_litert", reason="the extra train-sample is not installed")
    try:
        finder = PersonSegmenter()
    except EnvironmentFault:
        pytest.skip("mediapipe 0.10.14 is not installed")
    picture = cv2.imread(str(EXAMPLES / "portrait.jpg"))[..., ::-1]
    person = finder.segment(np.ascontiguousarray(picture))
    assert person.shape == picture.shape[:2]
    assert person[len(person) // 2, person.shape[1] // 2] > 0.9
    assert person[:8].mean() < 0.1


def test_a_missing_package_is_reported_with_the_command_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"pip install --no-deps mediapipe==0\.10\.14"):
        PersonSegmenter()
