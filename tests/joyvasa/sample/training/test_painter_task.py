import numpy as np
import pytest
import torch

from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
from joyvasa.sample.networks.points import KEYPOINTS, LEFT_LIDS, LIPS, RIGHT_LIDS
from joyvasa.sample.training import painter_task
from joyvasa.sample.training.painter_task import CUT, RIM, PainterTask, draw_corners
from joyvasa.sample.training.renderer_task import RendererTask
from joyvasa.sample.training.training_media import SIZE


def finder():
    return KeypointFinder(CompactMotionExtractorConfig())


@pytest.fixture
def task():
    torch.manual_seed(0)
    mean = np.zeros((468, 3))
    trained = RendererTask([], [], mean, finder()).network.state_dict()
    return PainterTask([], mean, finder(), trained)


def test_only_the_generator_is_trained_and_its_batch_norm_is_frozen(task):
    picture = torch.randint(0, 255, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    points, painted = torch.rand(2, KEYPOINTS, 3) - 0.5, torch.zeros(2, 1, SIZE, SIZE)
    painted[:, :, 150:170, 110:150] = 1
    before = {name: value.clone() for name, value in task.network.named_buffers()}
    loss, figures = task.loss((picture, picture, points, points, torch.zeros(0), painted))
    loss.backward()
    assert np.isfinite(list(figures.values())).all()
    assert all(p.grad is not None for p in task.network.parameters())
    others = [*task._renderer.appearance.parameters(), *task._renderer.warping.parameters()]
    assert all(p.grad is None for p in others)
    assert all(torch.equal(value, before[name]) for name, value in task.network.named_buffers())


def test_cutouts_are_at_mouths_at_eyes_and_anywhere():
    count = 400
    points = torch.zeros(count, KEYPOINTS, 3)
    points[:, LEFT_LIDS[1], :2], points[:, RIGHT_LIDS[1], :2] = torch.tensor([0.3, -0.2]), torch.tensor([-0.3, -0.2])
    points[:, list(LIPS), 1] = 0.25
    centers = [(0.625, 0.5), (0.4, 0.65), (0.4, 0.35)]  # mouth and eyes, row and column in sides of the picture
    corners = draw_corners(points)
    shares = [corners.count((round(row * 64 - CUT / 2), round(x * 64 - CUT / 2))) / count for row, x in centers]
    assert shares == pytest.approx([0.5, 0.175, 0.175], abs=0.08)
    assert len(set(corners)) > 50
    assert all(0 <= position <= SIZE // 4 - CUT for corner in corners for position in corner)


def test_a_cutout_covers_the_same_part_of_the_feature_and_of_the_picture():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    feature = torch.stack([y, x])[None]
    picture = feature.repeat_interleave(4, -1).repeat_interleave(4, -2)
    cutout = painter_task._cut_out(feature, [(5, 17)], 1, 0)
    inner = painter_task._cut_out(picture, [(5, 17)], 4, RIM)
    assert cutout.shape[-1] == CUT
    assert torch.equal(inner[..., ::4, ::4], cutout[..., RIM:-RIM, RIM:-RIM])
