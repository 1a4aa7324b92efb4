"""Person segmentation, if its network is installed, and closure of eyes."""

import cv2
import numpy as np
import pytest

from joyvasa.errors import EnvironmentFault
from joyvasa.sample.training.person_segmentation import PersonSegmenter
from joyvasa.sample.training.training_media import TrainingClip, measure_eye_closure
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


def test_eye_closure_is_relative_to_the_open_eyes_of_the_video():
    lids = np.full((20, 2), 0.3, np.float32)
    lids[7:9], lids[12] = 0.3 * 0.25, 0.3 * 0.625
    shut = measure_eye_closure(
        TrainingClip("a.mp4", np.zeros((20, 1, 1, 3), np.uint8), np.zeros((20, 468, 3), np.float32), lids)
    )
    assert shut[[7, 8]] == pytest.approx(1)
    assert shut[12] == pytest.approx(0.5)
    assert np.abs(shut[:7]).max() < 1e-6
