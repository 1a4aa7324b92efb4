import pytest
import torch

from joyvasa.keypoints import KeypointInfo, head_rotation, transform_keypoints
from joyvasa.networks import build
from joyvasa.networks.compact.layers import heatmaps, pixel_centres
from joyvasa.networks.compact.motion_extractor import align, angles
from joyvasa.networks.compact.points import INNER_LOWER_LIP, INNER_UPPER_LIP, KEYPOINTS, LIPS, MIRRORED


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
    still = pixel_centres(128, torch.device("cpu")).permute(2, 0, 1)
    assert (warped["deformation"] - still).abs().max() < 0.02  # of 2: the network has hardly a will of its own
    pixels = networks["generator"].layers(warped["out"])[1]
    assert (pixels - image).abs().mean() < 0.1


@torch.inference_mode()
def test_frames_do_not_depend_on_what_shares_their_batch(networks, image, points):
    feature = networks["appearance"](image)
    driven = points + 0.05 * torch.randn(4, KEYPOINTS, 3, generator=torch.Generator().manual_seed(3))
    together = networks["generator"](networks["warping"](feature, points, driven)["out"])
    alone = networks["generator"](networks["warping"](feature, points, driven[2:3])["out"])
    assert (together[2:3] - alone).abs().max() < 1e-4  # a fortieth of a grey level


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
    for found, true in zip(angles(rotation), wanted, strict=True):
        assert torch.allclose(found, true, atol=1e-3)
    model = torch.randn(7, 3, generator=generator)
    moved = 0.3 * model @ rotation + torch.tensor([0.1, -0.2, 0.3])
    scale, turned, shift = align(model, moved)
    assert torch.allclose(scale, torch.full((6,), 0.3), atol=1e-5)
    assert torch.allclose(turned, rotation, atol=1e-5)
    assert torch.allclose(shift, torch.tensor([0.1, -0.2, 0.3]).expand(6, 3), atol=1e-5)


def test_a_heatmap_is_highest_at_its_point():
    point = torch.tensor([[[0.25, -0.5, 9.0]]])
    peak = heatmaps(point, 64, 0.1)[0, 0].flatten().argmax()
    assert torch.allclose(pixel_centres(64, point.device).flatten(0, 1)[peak], point[0, 0, :2], atol=1 / 64)


def test_a_mirror_changes_the_sides_of_the_mouth():
    sides = dict(MIRRORED)
    assert sides[LIPS[0]] == LIPS[1]
