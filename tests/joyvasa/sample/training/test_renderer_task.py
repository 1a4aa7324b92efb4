import numpy as np
import pytest
import torch

from joyvasa.sample.networks.layers import pixel_centers
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
from joyvasa.sample.networks.points import KEYPOINTS, LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.renderer_task import (
    BAND,
    MAX_ERROR_SHARE,
    RendererTask,
    around_shut_lids,
    motion_mask,
    static_band,
)
from joyvasa.sample.training.training_media import SIZE


class Mistaken(KeypointFinder):
    """Finds keypoints with an error that equals the brightness of the picture."""

    def forward(self, image):
        points = image.mean(dim=(1, 2, 3))[:, None, None].expand(-1, KEYPOINTS, 3)
        return points, points


@pytest.fixture
def task():
    torch.manual_seed(0)
    return RendererTask([], [], np.zeros((468, 3)), Mistaken(CompactMotionExtractorConfig()))


def test_keypoint_noise_is_a_random_share_of_the_extractor_s_error(task):
    pictures = torch.rand(64, 1, 1, 1).expand(-1, 3, 8, 8)
    errors = task._keypoint_errors(pictures, torch.zeros(64, KEYPOINTS, 3))
    assert torch.equal(errors, errors[:, :1, :1].expand_as(errors)), "one share per picture"
    share = errors[:, 0, 0] / pictures[:, 0, 0, 0]
    assert 0 <= share.min() < 0.2
    assert MAX_ERROR_SHARE - 0.2 < share.max() <= MAX_ERROR_SHARE + 0.01


def test_training_does_not_change_the_extractor(task):
    size = 256
    picture = torch.randint(0, 255, (2, 3, size, size), dtype=torch.uint8)
    points = torch.rand(2, KEYPOINTS, 3) - 0.5
    origin = pixel_centers(size // 2, torch.device("cpu")).permute(2, 0, 1).expand(2, -1, -1, -1)
    loss, figures = task.loss((picture, picture, points, points, origin, torch.zeros(2, 1, size, size)))
    loss.backward()
    assert np.isfinite(list(figures.values())).all()
    assert all(p.grad is not None for p in task.warping.parameters())
    assert all(p.grad is None for p in task._finder.parameters())


def test_weights_are_at_shut_lids_only():
    source = torch.zeros(1, KEYPOINTS, 3)
    for (upper, lower), x in ((RIGHT_LIDS, -0.4), (LEFT_LIDS, 0.4)):
        source[:, [upper, lower], 0], source[:, upper, 1] = x, -0.1
    shut = source.clone()
    shut[:, RIGHT_LIDS[0], 1] = 0.0
    weights = around_shut_lids(source, shut)[0, 0]
    assert weights.argmax() % SIZE == pytest.approx(0.3 * SIZE, abs=1)
    assert weights.max() == pytest.approx(1, abs=0.02)
    assert weights[:, SIZE // 2 + 30 :].max() < 0.01
    assert around_shut_lids(source, source).max() == 0
    shut[:, RIGHT_LIDS[0], 1] = 0.1  # past the lower lid
    assert torch.equal(around_shut_lids(source, shut)[0, 0], weights)


def test_the_static_band_surrounds_motion():
    origin = pixel_centers(64, torch.device("cpu")).permute(2, 0, 1)[None].clone()
    origin[:, 0, 20:30, 20:30] += 0.1
    origin[:, :, 40:] = torch.nan
    moving = motion_mask(origin)[0, 0]
    assert moving[20:30, 20:30].min() == 1
    assert moving.sum() == 100
    band = static_band(origin)[0, 0]
    assert band[20:30, 20:30].sum() == 0
    assert band[25, 30 : 30 + BAND].min() == 1
    assert band[25, 30 + BAND :].max() == 0
    assert band[38 + BAND :].max() == 0
