import pytest
import torch

from joyvasa.errors import ConfigError
from joyvasa.networks import build
from joyvasa.networks.xpose import Prompts
from joyvasa.networks.xpose.backbone import SwinStage
from joyvasa.networks.xpose.deformable import DeformableAttention
from joyvasa.networks.xpose.encoder import FusionLayer
from joyvasa.networks.xpose.layers import ROWS, apply_in_slices
from joyvasa.networks.xpose.network import box_proposals
from joyvasa.networks.xpose.positions import cell_centers
from tests.joyvasa.networks.xpose import formulas

SMALL = {
    "backbone_width": 8,
    "backbone_depths": [1, 2, 1, 1],
    "backbone_heads": [1, 2, 2, 4],
    "window": 3,
    "dim": 32,
    "prompt_dim": 20,
    "heads": 4,
    "points": 2,
    "encoder_layers": 2,
    "decoder_layers": 4,
    "box_layers": 1,
    "hidden": 48,
    "text_hidden": 40,
    "fusion_dim": 64,
    "proposals": 60,
    "boxes": 7,
    "keypoints": 6,
    "own_sizes": 2,
    "labels": 3,
    "padding_dim": 5,
}
SHAPES = [(9, 13), (5, 7), (3, 4), (2, 2)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(5)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(4)
    small = build("xpose", **SMALL)
    for parameter in small.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter.data, 0.5, 0.5)
    return small


@pytest.fixture
def prompts():
    return Prompts(torch.randn(2, 20), torch.randn(4, 20))


def randomize(module):
    """Draw all parameters, so that each affects the result."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter.data, std=0.3)
    return module.eval()


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("far", [1.0, 30.0])  # 30: most samples are outside of the image
def test_deformable_attention_equals_grid_sample(boxes, far):
    module = randomize(DeformableAttention(32, heads=4, levels=4, points=2))
    module.sampling_offsets.weight.mul_(far)
    n_cells = sum(height * width for height, width in SHAPES)
    query, value, positions = torch.randn(3, 50, 32), torch.randn(3, n_cells, 32), torch.rand(3, 50, 4 if boxes else 2)
    positions[:, :4] = positions[:, :4].round()  # corners of the image
    actual = module(query, positions, value, SHAPES)
    expected = formulas.deformable_attention(module, query, positions, value, SHAPES)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("used", [None, torch.tensor([True, False, True])])
def test_fusion_equals_attention_with_all_projections(used):
    layer = randomize(FusionLayer(32, inner_dim=64, heads=4))
    cells, tokens = torch.randn(2, 90, 32), torch.randn(2, 3, 32)
    for actual, expected in zip(layer(cells, tokens, used), formulas.fusion(layer, cells, tokens, used), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(9, 12), (10, 8), (4, 5), (2, 2)])
def test_indexed_windows_equal_padding_and_rolling(height, width):
    stage = randomize(SwinStage(8, depth=3, heads=2, window=5, last=True))
    x = torch.randn(2, height, width, 8)
    torch.testing.assert_close(stage(x), formulas.swin_stage(stage, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, 2 * ROWS + 3])
def test_slices_change_nothing(rows):
    x, y = torch.randn(2, rows, 3), torch.randn(2, rows, 1)
    assert torch.equal(apply_in_slices(lambda a, b: a * b, x, y), x * y)


def test_boxes_and_keypoints_are_fractions_of_the_image(network, prompts):
    boxes, keypoints = network(torch.randn(2, 3, 90, 70), prompts)
    assert boxes.shape == (2, 7, 4)
    assert keypoints.shape == (2, 7, 4, 2)
    assert (boxes > 0).all()
    assert (boxes < 1).all()
    assert keypoints.std() > 1e-3


def test_images_of_a_batch_are_independent(network, prompts):
    images = torch.randn(3, 3, 90, 70)
    together = network.predict(images, prompts)
    for index, image in enumerate(images):
        alone = network.predict(image[None], prompts)
        torch.testing.assert_close(together.boxes[index], alone.boxes[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.keypoints[index], alone.keypoints[0], rtol=1e-4, atol=1e-4)


def test_padding_of_prompts_changes_nothing(network, prompts):
    image = torch.randn(1, 3, 90, 70)
    padded = Prompts(
        torch.cat([prompts.instances, torch.randn(3, 20)]),
        torch.cat([prompts.keypoints, torch.randn(2, 20)]),
        torch.arange(5) < 2,
        torch.arange(6) < 4,
    )
    expected, actual = network.predict(image, prompts), network.predict(image, padded)
    torch.testing.assert_close(actual.boxes, expected.boxes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(actual.keypoints[:, :, :4], expected.keypoints, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(actual.logits[..., :2], expected.logits, rtol=1e-4, atol=1e-4)
    assert (actual.logits[..., 2:] == -torch.inf).all()


def test_a_very_flat_image_has_fewer_proposals(network, prompts):
    boxes, _ = network(torch.randn(1, 3, 4, 300), prompts)
    assert boxes.isfinite().all()
    assert boxes.shape == (1, 7, 4)


def test_proposals_near_the_border_are_invalid():
    logits, valid = box_proposals([(4, 60)], device=torch.device("cpu"))
    centers = cell_centers([(4, 60)], device=torch.device("cpu"))
    assert valid.tolist() == [0.01 < x < 0.99 for x, _ in centers.tolist()]
    assert logits[~valid].isinf().all()
    torch.testing.assert_close(logits[valid].sigmoid()[:, :2], centers[valid])
    assert logits[valid].sigmoid()[:, 2:].unique().tolist() == pytest.approx([0.05])


def test_too_many_keypoints_are_refused(network):
    prompts = Prompts(torch.randn(1, 20), torch.randn(7, 20))
    with pytest.raises(ConfigError, match=r"too_many_keypoints: xpose: 7 keypoint prompts .*at most 6"):
        network.predict(torch.randn(1, 3, 40, 40), prompts)


def test_heads_are_one_module_under_all_names(network):
    assert network.bbox_embed[0] is network.transformer.decoder.bbox_embed[3]
    assert len(network.bbox_embed) == 4
    assert len(network.pose_embed) == 4
    assert len(network.transformer.decoder.pose_hw_embed) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 3}, "XposeConfig.levels: found 3; expected 4"),
        ({"backbone_heads": [3, 6, 12]}, r"backbone_heads: found \(3, 6, 12\)"),
        ({"backbone_heads": [5, 6, 12, 24]}, r"backbone_heads: .*divisors of the 96"),
        ({"dim": 40}, "XposeConfig.dim: found 40"),
        ({"fusion_dim": 30}, "XposeConfig.fusion_dim: found 30"),
        ({"box_layers": 6}, "XposeConfig.box_layers: found 6"),
        ({"boxes": 901}, "XposeConfig.boxes: found 901"),
        ({"own_sizes": 68}, "XposeConfig.own_sizes: found 68"),
    ],
)
def test_mismatched_sizes_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=f"bad_network_size: .*{message}"):
        build("xpose", **options)
