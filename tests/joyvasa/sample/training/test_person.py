"""Telling a person from the background, and reading lids: with the teachers, where they are installed."""

import cv2
import numpy as np
import pytest

from joyvasa.errors import EnvironmentFault
from joyvasa.sample.training.person import PersonFinder
from joyvasa.sample.training.pictures import Clip, lids_shut
from tests.media import EXAMPLES


def test_a_person_is_told_from_the_background():
    pytest.importorskip("ai_edge_litert", reason="the extra train-sample is not installed")
    try:
        finder = PersonFinder()
    except EnvironmentFault:
        pytest.skip("mediapipe 0.10.14 is not installed")
    picture = cv2.imread(str(EXAMPLES / "portrait.jpg"))[..., ::-1]
    person = finder.find(np.ascontiguousarray(picture))
    assert person.shape == picture.shape[:2]
    assert person[len(person) // 2, person.shape[1] // 2] > 0.9
    assert person[:8].mean() < 0.1


def test_what_is_not_installed_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"pip install --no-deps mediapipe==0\.10\.14"):
        PersonFinder()


def test_lids_are_shut_by_what_they_are_beside_a_video_s_open_eyes():
    lids = np.full((20, 2), 0.3, np.float32)
    lids[7:9], lids[12] = 0.3 * 0.25, 0.3 * 0.625
    shut = lids_shut(Clip("a.mp4", np.zeros((20, 1, 1, 3), np.uint8), np.zeros((20, 468, 3), np.float32), lids))
    assert shut[[7, 8]] == pytest.approx(1)
    assert shut[12] == pytest.approx(0.5)
    assert np.abs(shut[:7]).max() < 1e-6
