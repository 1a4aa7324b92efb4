import math

import pytest
import torch

from joyvasa.motion.keypoints import (
    KeypointInfo,
    degrees_from_bins,
    head_rotation,
    motion_multiplier,
    pose_keypoints,
    retargeting_delta,
    stitch_keypoints,
    transform_keypoints,
)
from joyvasa.networks import build


def rotation(pitch=0.0, yaw=0.0, roll=0.0):
    return head_rotation(*(torch.tensor([[angle]]) for angle in (pitch, yaw, roll)))[0]


def test_a_single_bin_gives_its_angle():
    bins = torch.full((3, 66), -1e4)
    for row, index in enumerate((0, 32, 65)):
        bins[row, index] = 1e4
    assert degrees_from_bins(bins).tolist() == [[-97.5], [-1.5], [97.5]]


def test_equal_bins_are_zero_degrees_in_float32():
    degrees = degrees_from_bins(torch.zeros(1, 66, dtype=torch.bfloat16))
    assert degrees.dtype == torch.float32
    assert degrees.item() == pytest.approx(0, abs=1e-4)


def test_tensors_of_other_widths_are_returned_unchanged():
    degrees = torch.tensor([[12.5], [-3.0]])
    assert degrees_from_bins(degrees) is degrees


@pytest.mark.parametrize(
    ("angles", "point", "expected"),
    [
        ({"pitch": 90.0}, (0, 1, 0), (0, 0, 1)),
        ({"yaw": 90.0}, (0, 0, 1), (1, 0, 0)),
        ({"roll": 90.0}, (1, 0, 0), (0, 1, 0)),
        ({"pitch": 90.0, "roll": 90.0}, (1, 0, 0), (0, 1, 0)),
        ({"pitch": 90.0, "yaw": 90.0}, (0, 1, 0), (1, 0, 0)),  # about x, then about y
    ],
)
def test_rotations_are_right_handed(angles, point, expected):
    turned = torch.tensor(point, dtype=torch.float32) @ rotation(**angles)
    torch.testing.assert_close(turned, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


def test_rotations_are_orthogonal_and_keep_handedness():
    r = rotation(20.0, -35.0, 130.0)
    torch.testing.assert_close(r @ r.T, torch.eye(3))
    assert torch.linalg.det(r).item() == pytest.approx(1, abs=1e-6)


def test_keypoints_are_rotated_then_displaced_then_scaled_then_moved():
    canonical, expression = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 0.5]]])
    keypoints = pose_keypoints(
        canonical, rotation(roll=90.0)[None], expression, torch.tensor([[2.0]]), torch.tensor([[0.1, 0.2, 9.0]])
    )
    expected = torch.tensor([[[0.1, 2.2, 1.0]]])  # 9 in z has no effect
    torch.testing.assert_close(keypoints, expected)


def test_autocast_does_not_affect_keypoints():
    torch.manual_seed(0)
    info = KeypointInfo.from_heads(
        {
            "pitch": torch.randn(2, 66),
            "yaw": torch.randn(2, 66),
            "roll": torch.randn(2, 66),
            "t": torch.randn(2, 3),
            "exp": torch.randn(2, 30),
            "scale": torch.rand(2, 1),
            "kp": torch.randn(2, 30),
        }
    )
    network = build("stitching", keypoints=10)
    exact = transform_keypoints(info)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(transform_keypoints(info), exact)
        stitched = stitch_keypoints(network, exact, exact)
    assert torch.equal(stitched, stitch_keypoints(network, exact, exact))


def test_any_number_of_keypoints_is_supported():
    heads = build("motion_extractor", keypoints=10, depths=[1], widths=[8])(torch.rand(3, 3, 32, 32))
    info = KeypointInfo.from_heads(heads)
    assert len(info) == 3
    assert info.expression.shape == info.canonical.shape == (3, 10, 3)
    assert torch.equal(info.canonical[:, 2], heads["kp"][:, 6:9])
    assert info[1:2].rotation.shape == (1, 3, 3)
    assert transform_keypoints(info).shape == (3, 10, 3)


def test_stitching_adds_displacements_and_a_common_shift():
    def network(features):
        assert features.shape == (2, 12)
        assert features[1].tolist() == [*range(6), *range(12, 18)]  # the source, then the driving keypoints
        return torch.tensor([0.0, 0, 0, 0, 0, 1, 10, 20]).expand(2, -1)

    source = torch.arange(6.0).view(1, 2, 3)
    driving = torch.arange(6.0, 18.0).view(2, 2, 3)
    moved = stitch_keypoints(network, source, driving) - driving
    assert moved.tolist() == [[[10, 20, 0], [10, 20, 1]]] * 2


def test_retargeting_receives_keypoints_then_ratios():
    keypoints, ratios = torch.arange(6.0).view(1, 2, 3), torch.tensor([[0.25, math.pi]])
    delta = retargeting_delta(lambda features: features[:, 2:], keypoints, ratios)
    torch.testing.assert_close(delta, torch.tensor([[[2.0, 3, 4], [5, 0.25, math.pi]]]))


def test_the_motion_multiplier_is_the_root_of_the_volume_ratio():
    cube = torch.tensor([[[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)]])
    assert motion_multiplier(cube * 4, cube) == pytest.approx(8)
    assert motion_multiplier(cube, cube * torch.tensor([1.0, 4, 9]) + 7) == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    "directions", [torch.zeros(2, 3), torch.eye(2, 3), torch.tensor([[0.3, -0.8, 0.5], [0.7, 0.1, -0.6]])]
)
def test_a_flat_face_has_multiplier_one(directions):
    solid = torch.rand(1, 21, 3, generator=torch.Generator().manual_seed(0))
    flat = solid[..., :2] @ directions
    assert motion_multiplier(flat, solid) == motion_multiplier(solid, flat) == 1.0
    assert motion_multiplier(solid[:, :3], solid[:, :3]) == 1.0
