"""Preparation and distance of clips equal the reference."""

import numpy as np
import pytest
import torch

from joyvasa.metrics.base import Clip
from joyvasa.metrics.fvd import FvdConfig, FvdMetric, FvdSet, compute_fvd, preprocess_frames
from joyvasa.metrics.support.frechet import FeatureMoments
from joyvasa.networks import build
from tests.golden import metric_recipe
from tests.golden.metric_reference import check, fill, meta, pattern_video, stored


@pytest.mark.parametrize(
    ("name", "resize"), [("sgv_chw01", "short_side"), ("vgpt_uint8", "short_side"), ("cdfvd_uint8", "squash")]
)
def test_prepared_frames_equal_the_reference(name, resize):
    video = pattern_video(20671, 4, 180, 250, meta()["fvd_preprocess"]["sha"])
    prepared = preprocess_frames(torch.from_numpy(video), resize).transpose(0, 1)[..., ::9, ::9]
    expected = stored("fvd_preprocess")[name]
    assert prepared.shape == expected.shape
    assert np.abs(prepared.numpy() - expected).max() <= 1e-4


@pytest.fixture(scope="module")
def features_of():
    """Return a function that computes the features of a clip of 10 frames by its number."""
    network = fill(build("i3d"), "i3d_net")

    class Bundle:
        def load_network(self, role, device):
            return network

    class Models:
        bundle, device = Bundle(), torch.device("cpu")

    class TenFrames(FvdMetric):
        config = FvdConfig(clip_frames=10, stride_frames=10)

    metric = TenFrames()
    metric.setup(Models())

    def compute(number):
        clip = Clip(video="a.mp4", frames_per_second=25.0, width=224, height=224, has_sound=False)
        measurement = metric.start(clip)
        measurement.update(metric_recipe.pattern_video(20690 + number, 10, 224, 224))
        (features,) = measurement.features()["fvd"]
        return features

    return compute


@pytest.mark.parametrize("number", [0, 12, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 12))])
def test_features_of_clips_equal_the_reference(features_of, number):
    check(features_of(number), stored("fvd_mini")["feats"][number], 1e-4)


@pytest.mark.parametrize("ddof", [0, 1])
def test_distance_of_clips_equals_the_reference(ddof):
    features = stored("fvd_mini")["feats"]
    real, generated = (
        FvdSet(FeatureMoments.from_features(part), {"ddof": ddof}) for part in (features[:7], features[7:])
    )
    expected = meta()["fvd_mini"][f"fvd_ddof{ddof}"]
    assert compute_fvd(real, generated).value == pytest.approx(expected, rel=2e-2)


@pytest.mark.slow
def test_distance_from_frames_equals_the_reference(features_of):
    features = np.stack([features_of(number) for number in range(13)])
    real, generated = (FvdSet(FeatureMoments.from_features(part), {"ddof": 0}) for part in (features[:7], features[7:]))
    assert compute_fvd(real, generated).value == pytest.approx(meta()["fvd_mini"]["fvd_ddof0"], rel=2e-2)
