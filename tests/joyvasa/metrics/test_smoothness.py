import numpy as np
import pytest
import torch

from joyvasa.errors import InputError, ModelError
from joyvasa.metrics.smoothness import SmoothnessMetric, interpolate_frames
from joyvasa.networks.metrics.amt import Interpolation
from tests.joyvasa.metrics.seeded import (
    feed,
    make_silent_clip,
    metric_models,
    read_frames,
    stub_models,
    write_seeded_weights,
)
from tests.media import MEDIA


class Average:
    """Interpolates by averaging; records the batch sizes."""

    def __init__(self):
        self.pairs = []

    def __call__(self, first, second):
        self.pairs.append(len(first))
        return Interpolation((first + second) / 2, [])


def score(metric, frames, batch=16):
    return feed(metric.start(make_silent_clip(frames)), frames, batch).finish()["smooth"]


@pytest.fixture
def blending():
    metric = SmoothnessMetric()
    metric.setup(stub_models(Average()))
    return metric


def fade(levels):
    return np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), 128, 128, 3))


def test_a_steady_fade_scores_one_and_a_jump_less(blending):
    assert score(blending, fade(range(0, 100, 10))) == 1
    jump = [0, 10, 20, 80, 40, 50, 60]  # one of three middle frames is 50 gray levels off
    assert score(blending, fade(jump)) == pytest.approx(1 - 50 / 3 / 255)


def test_an_odd_frame_at_the_end_does_not_count(blending):
    assert score(blending, fade([0, 10, 20, 255])) == 1


@pytest.mark.parametrize("n_frames", [1, 2])
def test_at_least_three_frames_are_required(blending, n_frames):
    with pytest.raises(InputError, match=f"too_short: .*{n_frames} frames"):
        score(blending, fade([0] * n_frames))


@pytest.mark.parametrize(
    ("height", "width", "code"),
    [(112, 512, "frame_too_small"), (512, 112, "frame_too_small"), (4100, 4100, "frame_too_large")],
)
def test_unsupported_frame_sizes_have_no_number(blending, height, width, code):
    clip = make_silent_clip(np.broadcast_to(np.uint8(0), (3, height, width, 3)))
    with pytest.raises(InputError, match=code):
        blending.start(clip)


def test_frames_that_padding_makes_large_enough_have_a_number(blending):
    frames = np.random.default_rng(0).integers(0, 255, (3, 113, 120, 3), np.uint8)
    assert 0 < score(blending, frames) < 1


def test_batches_have_a_fixed_number_of_pixels():
    network = Average()
    metric = SmoothnessMetric()
    metric.setup(stub_models(network))
    metric.BATCH_PIXELS = 3 * 128 * 128
    score(metric, fade([0] * 17), batch=5)
    assert network.pairs == [3, 3, 2]


def test_streaming_equals_the_whole_clip():
    network = write_seeded_weights("amt_s")
    metric = SmoothnessMetric()
    metric.setup(metric_models())
    frames, _ = read_frames(MEDIA / "videos/d6.mp4", 8, 128)
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 20  # it moves
    ends = torch.from_numpy(frames[::2])
    interpolated = interpolate_frames(network, ends[:-1], ends[1:]).numpy().astype(float)
    whole = (255 - np.abs(interpolated - frames[1::2][: len(interpolated)]).mean()) / 255
    metric.BATCH_PIXELS = 2 * 128 * 128
    assert score(metric, frames, batch=5) == pytest.approx(whole, abs=1e-5)


def test_weights_of_another_network_are_rejected(models_home):
    write_seeded_weights("i3d")
    (models_home / "metrics/amt").mkdir(parents=True)
    (models_home / "metrics/i3d/i3d_pretrained_400.pt").rename(models_home / "metrics/amt/amt-s.pth")
    with pytest.raises(ModelError, match="state_dict"):
        SmoothnessMetric().setup(metric_models())
