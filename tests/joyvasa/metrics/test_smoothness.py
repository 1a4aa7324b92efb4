import numpy as np
import pytest
import torch

from joyvasa.errors import ModelError
from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.smoothness import SmoothnessMetric, interpolate_frames
from joyvasa.networks.metrics.amt import Interpolation
from tests.joyvasa.metrics.seeded import clip_of, fed, models, put_weights, real_frames, stub_models
from tests.media import MEDIA


class Average:
    """An interpolation that blends; remembers how many pairs it was given at once."""

    def __init__(self):
        self.pairs = []

    def __call__(self, first, second):
        self.pairs.append(len(first))
        return Interpolation((first + second) / 2, [])


def score(metric, frames, batch=16):
    return fed(metric.start(clip_of(frames)), frames, batch).finish()["smooth"]


@pytest.fixture
def blending():
    metric = SmoothnessMetric()
    metric.setup(stub_models(Average()))
    return metric


def fade(levels):
    return np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), 128, 128, 3))


def test_a_steady_fade_scores_one_and_a_jump_less(blending):
    assert score(blending, fade(range(0, 100, 10))) == 1
    jump = [0, 10, 20, 80, 40, 50, 60]  # one of three frames between is 50 grey levels off
    assert score(blending, fade(jump)) == pytest.approx(1 - 50 / 3 / 255)


def test_an_odd_frame_at_the_end_does_not_count(blending):
    assert score(blending, fade([0, 10, 20, 255])) == 1


@pytest.mark.parametrize("n_frames", [1, 2])
def test_two_frames_have_nothing_between_them(blending, n_frames):
    found = score(blending, fade([0] * n_frames))
    assert isinstance(found, NotMeasured)
    assert found.code == "too_short"
    assert f"{n_frames} frames" in found.sentence


@pytest.mark.parametrize(
    ("height", "width", "code"),
    [(112, 512, "frame_too_small"), (512, 112, "frame_too_small"), (4100, 4100, "frame_too_large")],
)
def test_frames_that_the_network_cannot_take_have_no_number(blending, height, width, code):
    clip = clip_of(np.broadcast_to(np.uint8(0), (3, height, width, 3)))
    assert blending.start(clip).finish()["smooth"].code == code


def test_frames_that_padding_makes_large_enough_have_a_number(blending):
    frames = np.random.default_rng(0).integers(0, 255, (3, 113, 120, 3), np.uint8)
    assert 0 < score(blending, frames) < 1


def test_pairs_go_through_the_network_in_batches_of_a_fixed_number_of_pixels():
    network = Average()
    metric = SmoothnessMetric()
    metric.setup(stub_models(network))
    metric.BATCH_PIXELS = 3 * 128 * 128
    score(metric, fade([0] * 17), batch=5)
    assert network.pairs == [3, 3, 2]


def test_streaming_gives_the_number_of_the_whole_clip():
    network = put_weights("amt_s")
    metric = SmoothnessMetric()
    metric.setup(models())
    frames, _ = real_frames(MEDIA / "videos/d6.mp4", 8, 128)
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 20  # it moves
    ends = torch.from_numpy(frames[::2])
    between = interpolate_frames(network, ends[:-1], ends[1:]).numpy().astype(float)
    whole = (255 - np.abs(between - frames[1::2][: len(between)]).mean()) / 255
    metric.BATCH_PIXELS = 2 * 128 * 128
    assert score(metric, frames, batch=5) == pytest.approx(whole, abs=1e-5)


def test_a_file_that_is_not_amt_is_refused(models_home):
    put_weights("i3d")
    (models_home / "metrics/amt").mkdir(parents=True)
    (models_home / "metrics/i3d/i3d_pretrained_400.pt").rename(models_home / "metrics/amt/amt-s.pth")
    with pytest.raises(ModelError, match="state_dict"):
        SmoothnessMetric().setup(models())
