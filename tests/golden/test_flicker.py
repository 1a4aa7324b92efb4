import itertools

import cv2
import pytest

from joyvasa.metrics.flicker import FlickerMetric
from tests.golden import metric_recipe
from tests.golden.metric_reference import meta
from tests.joyvasa.metrics.clips import make_clip, measure_values


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_temporal_flickering_equals_the_reference_for_any_batch_size(batch):
    expected = meta()["temporal_flickering"]
    frames = metric_recipe.pattern_video(20881, 9, 120, 160)
    assert metric_recipe.sha(frames) == expected["sha"]
    values = measure_values(FlickerMetric(), make_clip(frames), frames, batch=batch)
    assert values["temporal_flickering"] == pytest.approx(expected["score"], rel=1e-6)
    differences = [cv2.absdiff(*pair).mean() for pair in itertools.pairwise(frames)]
    assert differences == pytest.approx(expected["mae"], rel=1e-6)
