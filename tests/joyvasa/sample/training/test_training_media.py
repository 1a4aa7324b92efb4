"""Cached portraits and eye closure in videos."""

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.sample.training import training_media
from joyvasa.sample.training.training_media import TrainingClip, TrainingMedia, measure_eye_closure


def test_eye_closure_is_relative_to_the_open_eyes_of_the_video():
    lids = np.full((20, 2), 0.3, np.float32)
    lids[7:9], lids[12] = 0.3 * 0.25, 0.3 * 0.625
    clip = TrainingClip("a.mp4", np.zeros((20, 1, 1, 3), np.uint8), np.zeros((20, 468, 3), np.float32), lids)
    shut = measure_eye_closure(clip)
    assert shut[[7, 8]] == pytest.approx(1)
    assert shut[12] == pytest.approx(0.5)
    assert np.abs(shut[:7]).max() < 1e-6


def test_the_cache_folder_is_created(tmp_path, monkeypatch):
    for name in ("FaceMeshDetector", "LidReader", "PersonSegmenter"):
        monkeypatch.setattr(training_media, name, lambda: None)
    (tmp_path / "portraits").mkdir()
    (tmp_path / "portraits" / "broken.jpg").touch()
    with pytest.raises(InputError, match="no_faces"):
        TrainingMedia(tmp_path, tmp_path / "out" / "pictures").portraits()
    assert len(list((tmp_path / "out" / "pictures").glob("broken.jpg-*.npz"))) == 1
