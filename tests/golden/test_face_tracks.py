import json

import numpy as np
import pytest

from joyvasa.metrics.support.face_tracks import crop_faces, smooth_squares, track_faces
from tests.golden.metric_reference import meta, pattern_video, stored


@pytest.fixture(scope="module")
def tracks():
    faces = json.loads(str(stored("track_crop")["faces_json"]))
    return track_faces([np.array(boxes).reshape(-1, 4) for boxes in faces])


def test_tracks_match(tracks):
    arrays = stored("track_crop")
    assert len(tracks) == len(meta()["track_crop"]["tracks"])
    for number, track in enumerate(tracks):
        frames = np.arange(track.first, track.first + len(track))
        np.testing.assert_array_equal(frames, arrays[f"t{number}_frames"])
        np.testing.assert_allclose(track.boxes, arrays[f"t{number}_bbox"], atol=1e-6)


def test_smoothed_squares_match(tracks):
    arrays = stored("track_crop")
    for number, track in enumerate(tracks):
        for name, values in zip("sxy", smooth_squares(track.boxes), strict=True):
            np.testing.assert_allclose(values, arrays[f"t{number}_{name}"], atol=1e-6)


@pytest.mark.slow
def test_cropped_faces_match(tracks):
    arrays = stored("track_crop")
    frames = pattern_video(20302, 150, 260, 440, meta()["track_crop"]["frames_sha"])
    for number, track in enumerate(tracks):
        batches = (frames[start : start + 16] for start in range(0, len(frames), 16))
        faces = np.concatenate(list(crop_faces(track, batches)))
        assert len(faces) == len(track)
        sample = faces[::12, ::8, ::8].astype(int)
        assert np.abs(sample - arrays[f"t{number}_crop_sub"]).max() <= 1
        means = faces.reshape(len(faces), -1).mean(axis=1)
        assert np.abs(means - arrays[f"t{number}_crop_mean"]).max() <= 1
