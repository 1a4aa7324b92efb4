import numpy as np
import pytest

from joyvasa.metrics.beat import beat_alignment, motion_beats
from tests.golden.metric_reference import meta, stored


def test_motion_beats_and_their_alignment_equal_the_reference():
    arrays, expected = stored("beat_align"), meta()["beat_align"]
    beats = motion_beats(arrays["keypoints"])
    np.testing.assert_array_equal(beats, arrays["motion_beats"])
    assert len(beats) == expected["n_motion_beats"]
    assert beat_alignment(beats, arrays["music_beats"]) == pytest.approx(expected["score"], rel=1e-6)
