"""Smoothness score and interpolated frames equal the reference."""

import numpy as np
import pytest
import torch

from joyvasa.metrics.base import Clip
from joyvasa.metrics.smoothness import SmoothnessMetric, interpolate_frames
from joyvasa.networks import build
from tests.golden.metric_reference import fill, meta, pattern_video, stored

CASES = {
    "even": (20868, 8, 140, 180),
    "odd": (20867, 7, 140, 180),
    "mult16": (20865, 5, 144, 192),
}


@pytest.fixture(scope="module")
def network():
    return fill(build("amt"), "amt_net")


@pytest.fixture(params=CASES)
def case(request):
    expected = next(case for case in meta()["vbench_smooth"]["cases"] if case["name"] == request.param)
    return expected, pattern_video(*CASES[request.param], expected["sha"])


def test_score_equals_the_reference(network, case):
    class Bundle:
        def load_network(self, role, device):
            assert role == "amt_s"
            return network

    class Models:
        bundle, device = Bundle(), torch.device("cpu")

    expected, video = case
    metric = SmoothnessMetric()
    metric.setup(Models())
    clip = Clip(video="a.mp4", frames_per_second=25, width=video.shape[2], height=video.shape[1], has_sound=False)
    measurement = metric.start(clip)
    for start in range(0, len(video), 3):
        measurement.update(video[start : start + 3])
    assert measurement.finish()["smooth"] == pytest.approx(expected["score"], abs=2e-4)


def test_interpolated_frames_equal_the_reference(network, case):
    expected, video = case
    n = expected["n_pairs"]
    ends = torch.from_numpy(video[::2][: n + 1])
    between = interpolate_frames(network, ends[:-1], ends[1:]).numpy()
    arrays = stored("vbench_smooth")
    sub = arrays[f"{expected['name']}_interp_sub"]
    assert np.abs(between[:, ::4, ::4].astype(int) - sub.astype(int)).max() <= 1
    per_pair = np.abs(between.astype(float) - video[1::2][:n]).mean((1, 2, 3))
    assert per_pair == pytest.approx(arrays[f"{expected['name']}_per_pair"], abs=0.05)
