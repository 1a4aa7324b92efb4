import pytest
import torch

from joyvasa.models import Models
from joyvasa.motion.keypoints import KeypointInfo, head_rotation, transform_keypoints
from joyvasa.networks import build
from joyvasa.options import AnimationConfig
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
def test_compact_networks_have_the_interface_of_the_published_ones(networks, image, points):
    feature = networks["appearance"](image)
    warped = networks["warping"](feature, kp_source=points, kp_driving=points.expand(3, -1, -1))
    assert networks["generator"](warped["out"]).shape == (3, 3, 256, 256)
    heads = networks["motion_extractor"](image)
    assert {name: tuple(head.shape) for name, head in heads.items()} == {
        "pitch": (1, 1), "yaw": (1, 1), "roll": (1, 1), "t": (1, 3), "exp": (1, 63), "scale": (1, 1), "kp": (1, 63)
    }  # fmt: skip


@torch.inference_mode()
def test_before_training_a_static_portrait_hardly_changes(networks, image, points):
    warped = networks["warping"](networks["appearance"](image), points, points)
    still = pixel_centers(128, torch.device("cpu")).permute(2, 0, 1)
    assert (warped["deformation"] - still).abs().max() < 0.02  # of 2: almost no free motion
    pixels = networks["generator"].forward_layers(warped["out"])[1]
    assert (pixels - image).abs().mean() < 0.1


@torch.inference_mode()
def test_pixels_that_are_not_moving_are_static_for_all_keypoints(image, points):
    warping, feature = build("compact_warping"), build("compact_appearance")(image)
    still = pixel_centers(128, torch.device("cpu")).permute(2, 0, 1)
    assert (warping(feature, points, points + 0.1)["deformation"] - still).abs().max() > 0.05
    warping.refined.bias[3] = -9.0
    warped = warping(feature, points, points + 0.1)
    assert warped["moving"].max() < 0
    assert torch.equal(warped["deformation"], still[None])


@torch.inference_mode()
def test_frames_do_not_depend_on_the_batch(networks, image, points):
    feature = networks["appearance"](image)
    driven = points + 0.05 * torch.randn(4, KEYPOINTS, 3, generator=torch.Generator().manual_seed(3))
    batched = networks["generator"](networks["warping"](feature, points, driven)["out"])
    alone = networks["generator"](networks["warping"](feature, points, driven[2:3])["out"])
    assert (batched[2:3] - alone).abs().max() < 1e-4  # a fortieth of a gray level


@torch.inference_mode()
def test_a_shared_portrait_equals_one_portrait_per_frame(networks, image, points):
    driven = points + 0.05 * torch.randn(3, KEYPOINTS, 3, generator=torch.Generator().manual_seed(3))
    feature = networks["appearance"](image)
    shared, repeated = (networks["warping"](f, points, driven) for f in (feature, feature.expand(3, -1, -1, -1)))
    assert all((shared[name] - repeated[name]).abs().max() < 1e-4 for name in shared)


@torch.inference_mode()
def test_a_block_of_parts_equals_the_block_of_the_whole():
    draw = torch.Generator().manual_seed(0)
    block = ConvNormRelu(5, 7).eval()
    block[1].running_mean.normal_(generator=draw)
    shared, own = torch.randn(1, 2, 8, 8, generator=draw), torch.randn(4, 3, 8, 8, generator=draw)
    whole = torch.cat([own[:, :1], shared.expand(4, -1, -1, -1), own[:, 1:]], 1)
    assert torch.allclose(block.forward_parts((own, [0, 3, 4]), (shared, [1, 2])), block(whole), atol=1e-5)


@torch.inference_mode()
def test_the_built_in_model_renders_the_same_image_in_bfloat16():
    models = Models(AnimationConfig(device="cpu"))
    portrait = models.encoder.encode([models.read_picture(EXAMPLES / "portrait.jpg")])[0]
    source = transform_keypoints(portrait.keypoints)
    draw = torch.Generator().manual_seed(0)
    driving = source + 0.02 * torch.randn(2, 1, 3, generator=draw) + 0.01 * torch.randn(2, KEYPOINTS, 3, generator=draw)
    images = []
    for precision in ("fp32", "bf16"):
        with autocast(models.device, precision):
            images.append(models.renderer.render(portrait.feature, source, driving).int())
    difference = (images[0] - images[1]).abs()
    assert 1 <= difference.max() <= 4  # of 255
    assert difference.float().mean() < 0.05


def test_keypoints_are_recovered_from_the_heads(networks):
    head = networks["motion_extractor"].head
    head.opening[INNER_LOWER_LIP, 1] = 1.0
    generator = torch.Generator().manual_seed(4)
    points = head.mean + 0.1 * torch.randn(5, KEYPOINTS, 3, generator=generator)
    points = 0.4 * points @ head_rotation(*(torch.full((5, 1), a) for a in (8.0, -12.0, 5.0))) + 0.05
    info = KeypointInfo.from_heads(head(points))
    recovered = transform_keypoints(info)
    assert (recovered[..., :2] - points[..., :2]).abs().max() < 1e-5
    gap = info.canonical[:, INNER_LOWER_LIP, 1] - info.canonical[:, INNER_UPPER_LIP, 1]
    assert gap.max() < 1e-5  # the identity has closed lips; the opening is expression


def test_poses_are_recovered():
    generator = torch.Generator().manual_seed(5)
    angles = [(torch.rand(6, 1, generator=generator) - 0.5) * 80 for _ in range(3)]
    rotation = head_rotation(*angles)
    for actual, expected in zip(euler_angles(rotation), angles, strict=True):
        assert torch.allclose(actual, expected, atol=1e-3)
    model = torch.randn(7, 3, generator=generator)
    points = 0.3 * model @ rotation + torch.tensor([0.1, -0.2, 0.3])
    scale, actual, shift = fit_similarity(model, points)
    assert torch.allclose(scale, torch.full((6,), 0.3), atol=1e-5)
    assert torch.allclose(actual, rotation, atol=1e-5)
    assert torch.allclose(shift, torch.tensor([0.1, -0.2, 0.3]).expand(6, 3), atol=1e-5)


def test_a_heatmap_is_highest_at_its_point():
    point = torch.tensor([[[0.25, -0.5, 9.0]]])
    peak = gaussian_heatmaps(point, 64, 0.1)[0, 0].flatten().argmax()
    assert torch.allclose(pixel_centers(64, point.device).flatten(0, 1)[peak], point[0, 0, :2], atol=1 / 64)


def test_a_flip_exchanges_the_corners_of_the_mouth():
    exchanged = dict(MIRRORED)
    assert exchanged[LIPS[0]] == LIPS[1]
