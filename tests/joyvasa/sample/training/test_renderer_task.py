import numpy as np
import pytest
import torch

from joyvasa.sample.networks.layers import pixel_centres
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
from joyvasa.sample.networks.points import KEYPOINTS, LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.pictures import SIZE
from joyvasa.sample.training.renderer_task import (
    BESIDE,
    MOST_MISTAKEN,
    RendererTask,
    around_shut_lids,
    beside_motion,
    moves,
)


class Mistaken(KeypointFinder):
    """Finds keypoints that are off by as much as the picture is bright."""

    def forward(self, image):
        found = image.mean(dim=(1, 2, 3))[:, None, None].expand(-1, KEYPOINTS, 3)
        return found, found


@pytest.fixture
def task():
    torch.manual_seed(0)
    return RendererTask([], [], np.zeros((468, 3)), Mistaken(CompactMotionExtractorConfig()))


def test_keypoints_are_wrong_by_a_share_of_what_the_extractor_gets_wrong(task):
    pictures = torch.rand(64, 1, 1, 1).expand(-1, 3, 8, 8)
    off = task._mistakes(pictures, torch.zeros(64, KEYPOINTS, 3))
    assert torch.equal(off, off[:, :1, :1].expand_as(off)), "all keypoints of a picture by the same share"
    share = off[:, 0, 0] / pictures[:, 0, 0, 0]
    assert 0 <= share.min() < 0.2
    assert MOST_MISTAKEN - 0.2 < share.max() <= MOST_MISTAKEN + 0.01


def test_what_is_learned_does_not_move_the_extractor(task):
    size = 256
    picture = torch.randint(0, 255, (2, 3, size, size), dtype=torch.uint8)
    points = torch.rand(2, KEYPOINTS, 3) - 0.5
    origin = pixel_centres(size // 2, torch.device("cpu")).permute(2, 0, 1).expand(2, -1, -1, -1)
    loss, figures = task.loss((picture, picture, points, points, origin, torch.zeros(2, 1, size, size)))
    loss.backward()
    assert np.isfinite(list(figures.values())).all()
    assert all(p.grad is not None for p in task.warping.parameters())
    assert all(p.grad is None for p in task._finder.parameters())


def test_shut_lids_count_and_open_ones_do_not():
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
    shut[:, RIGHT_LIDS[0], 1] = 0.1  # driven on, past the lower lid
    assert torch.equal(around_shut_lids(source, shut)[0, 0], weights)


def test_beside_motion_is_a_band_around_what_moves():
    origin = pixel_centres(64, torch.device("cpu")).permute(2, 0, 1)[None].clone()
    origin[:, 0, 20:30, 20:30] += 0.1
    origin[:, :, 40:] = torch.nan
    moving = moves(origin)[0, 0]
    assert moving[20:30, 20:30].min() == 1
    assert moving.sum() == 100
    band = beside_motion(origin)[0, 0]
    assert band[20:30, 20:30].sum() == 0
    assert band[25, 30 : 30 + BESIDE].min() == 1
    assert band[25, 30 + BESIDE :].max() == 0
    assert band[38 + BESIDE :].max() == 0
