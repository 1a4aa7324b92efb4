import pytest
import torch

from joyvasa.models import AnimationConfig, Models
from joyvasa.motion.keypoints import KeypointInfo, head_rotation, transform_keypoints
from joyvasa.networks import build
from joyvasa.runtime.device import autocast
from joyvasa.sample.networks.layers import ConvNormRelu, gaussian_heatmaps, pixel_centers
from joyvasa.sample.networks.motion_extractor import euler_angles, fit_similarity
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, KEYPOINTS, LIPS, MIRRORED
from tests.media import EXAMPLES


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    names = ("appearance", "motion_extractor", "warping", "generator")
    return {name: build(f"compact_{name}") for name in names}


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def points():
    return torch.rand(1, KEYPOINTS, 3, generator=torch.Generator().manual_seed(2)) - 0.5


@torch.inference_mode()
def test_the_chain_keeps_the_calls_of_the_published_networks(networks, image, points):
    feature = networks["appearance"](image)
    warped = networks["warping"](feature, kp_source=points, kp_driving=points.expand(3, -1, -1))
    assert networks["generator"](warped["out"]).shape == (3, 3, 256, 256)
    heads = networks["motion_extractor"](image)
    assert {name: tuple(head.shape) for name, head in heads.items()} == {
        "pitch": (1, 1), "yaw": (1, 1), "roll": (1, 1), "t": (1, 3), "exp": (1, 63), "scale": (1, 1), "kp": (1, 63)
    }  # fmt: skip


@torch.inference_mode()
def test_before_training_a_portrait_at_rest_is_left_as_it_is(networks, image, points):
    warped = networks["warping"](networks["appearance"](image), points, points)
    still = pixel_centers(128, torch.device("cpu")).permute(2, 0, 1)
    assert (warped["deformation"] - still).abs().max() < 0.02  # of 2: the network has hardly a will of its own
    pixels = networks["generator"].forward_layers(warped["out"])[1]
    assert (pixels - image).abs().mean() < 0.1


@torch.inference_mode()
def test_what_does_not_move_stands_still_whatever_the_keypoints_do(image, points):
    warping, feature = build("compact_warping"), build("compact_appearance")(image)
    still = pixel_centers(128, torch.device("cpu")).permute(2, 0, 1)
    assert (warping(feature, points, points + 0.1)["deformation"] - still).abs().max() > 0.05
    warping.refined.bias[3] = -9.0
    warped = warping(feature, points, points + 0.1)
    assert warped["moving"].max() < 0
    assert torch.equal(warped["deformation"], still[None])


@torch.inference_mode()
def test_frames_do_not_depend_on_what_shares_their_batch(networks, image, points):
    feature = networks["appearance"](image)
    driven = points + 0.05 * torch.randn(4, KEYPOINTS, 3, generator=torch.Generator().manual_seed(3))
    together = networks["generator"](networks["warping"](feature, points, driven)["out"])
    alone = networks["generator"](networks["warping"](feature, points, driven[2:3])["out"])
    assert (together[2:3] - alone).abs().max() < 1e-4  # a fortieth of a gray level


@torch.inference_mode()
def test_a_portrait_given_once_is_as_good_as_one_for_each_frame(networks, image, points):
    driven = points + 0.05 * torch.randn(3, KEYPOINTS, 3, generator=torch.Generator().manual_seed(3))
    feature = networks["appearance"](image)
    once, each = (networks["warping"](f, points, driven) for f in (feature, feature.expand(3, -1, -1, -1)))
    assert all((once[name] - each[name]).abs().max() < 1e-4 for name in once)


@torch.inference_mode()
def test_a_block_of_parts_is_the_block_of_the_whole():
    draw = torch.Generator().manual_seed(0)
    block = ConvNormRelu(5, 7).eval()
    block[1].running_mean.normal_(generator=draw)
    shared, own = torch.randn(1, 2, 8, 8, generator=draw), torch.randn(4, 3, 8, 8, generator=draw)
    whole = torch.cat([own[:, :1], shared.expand(4, -1, -1, -1), own[:, 1:]], 1)
    assert torch.allclose(block.forward_parts((own, [0, 3, 4]), (shared, [1, 2])), block(whole), atol=1e-5)


@torch.inference_mode()
def test_in_bfloat16_the_built_in_model_paints_the_same_picture():
    models = Models(AnimationConfig(device="cpu"))
    portrait = models.encoder.encode([models.read_picture(EXAMPLES / "portrait.jpg")])[0]
    source = transform_keypoints(portrait.keypoints)
    draw = torch.Generator().manual_seed(0)
    driving = source + 0.02 * torch.randn(2, 1, 3, generator=draw) + 0.01 * torch.randn(2, KEYPOINTS, 3, generator=draw)
    pictures = []
    for precision in ("fp32", "bf16"):
        with autocast(models.device, precision):
            pictures.append(models.renderer.render(portrait.feature, source, driving).int())
    apart = (pictures[0] - pictures[1]).abs()
    assert 1 <= apart.max() <= 4  # of 255
    assert apart.float().mean() < 0.05


def test_heads_put_together_again_are_the_keypoints_that_were_found(networks):
    head = networks["motion_extractor"].head
    head.opening[INNER_LOWER_LIP, 1] = 1.0
    generator = torch.Generator().manual_seed(4)
    found = head.mean + 0.1 * torch.randn(5, KEYPOINTS, 3, generator=generator)
    found = 0.4 * found @ head_rotation(*(torch.full((5, 1), a) for a in (8.0, -12.0, 5.0))) + 0.05
    info = KeypointInfo.from_heads(head(found))
    again = transform_keypoints(info)
    assert (again[..., :2] - found[..., :2]).abs().max() < 1e-5
    gap = info.canonical[:, INNER_LOWER_LIP, 1] - info.canonical[:, INNER_UPPER_LIP, 1]
    assert gap.max() < 1e-5  # the person's own shape has closed lips; the opening is expression


def test_poses_are_recovered():
    generator = torch.Generator().manual_seed(5)
    wanted = [(torch.rand(6, 1, generator=generator) - 0.5) * 80 for _ in range(3)]
    rotation = head_rotation(*wanted)
    for found, true in zip(euler_angles(rotation), wanted, strict=True):
        assert torch.allclose(found, true, atol=1e-3)
    model = torch.randn(7, 3, generator=generator)
    moved = 0.3 * model @ rotation + torch.tensor([0.1, -0.2, 0.3])
    scale, turned, shift = fit_similarity(model, moved)
    assert torch.allclose(scale, torch.full((6,), 0.3), atol=1e-5)
    assert torch.allclose(turned, rotation, atol=1e-5)
    assert torch.allclose(shift, torch.tensor([0.1, -0.2, 0.3]).expand(6, 3), atol=1e-5)


def test_a_heatmap_is_highest_at_its_point():
    point = torch.tensor([[[0.25, -0.5, 9.0]]])
    peak = gaussian_heatmaps(point, 64, 0.1)[0, 0].flatten().argmax()
    assert torch.allclose(pixel_centers(64, point.device).flatten(0, 1)[peak], point[0, 0, :2], atol=1 / 64)


def test_a_mirror_changes_the_sides_of_the_mouth():
    sides = dict(MIRRORED)
    assert sides[LIPS[0]] == LIPS[1]
