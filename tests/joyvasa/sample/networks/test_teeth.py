import pytest
import torch

from joyvasa.sample.networks.layers import pixel_centers
from joyvasa.sample.networks.points import INNER_LOWER_LIP, KEYPOINTS, LEFT_LOWER_LID, RIGHT_LOWER_LID
from joyvasa.sample.networks.teeth import BETWEEN_TEETH, LOWER_SHOWN, ROOT, UPPER_SHOWN, draw_teeth_at

SIZE, EYES = 512, 0.5  # distance between the eyes in an image that spans 2
PIXEL = 2 / SIZE


def face(*, jaw=0.0, angle=0.0):
    """Return keypoints of a face rotated about the mouth in the middle; `jaw` is in distances between the eyes."""
    points = torch.zeros(1, KEYPOINTS, 3)
    points[:, RIGHT_LOWER_LID, :2], points[:, LEFT_LOWER_LID, :2] = torch.tensor([[-0.25, -0.6], [0.25, -0.6]])
    points[:, INNER_LOWER_LIP, 1] = jaw * EYES
    cos, sin = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    points[..., :2] = points[..., :2] @ torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])])
    return points


def teeth_maps(points):
    return draw_teeth_at(points, pixel_centers(SIZE, points.device))[0]


def row_ends(teeth):
    """Return top and bottom of a row of teeth in the middle column, relative to the center, in eye distances."""
    rows = (teeth[:, SIZE // 2] > 0.5).nonzero()[[0, -1], 0]
    return ((rows + 0.5 - SIZE / 2) * PIXEL / EYES).tolist()


@pytest.mark.parametrize("jaw", [0.15, 0.3])
def test_upper_teeth_are_below_the_lip_and_lower_teeth_follow_the_jaw(jaw):
    upper, _, lower = teeth_maps(face(jaw=jaw))
    assert row_ends(upper) == pytest.approx([-ROOT, UPPER_SHOWN], abs=2 * PIXEL / EYES)
    assert row_ends(lower) == pytest.approx([jaw - LOWER_SHOWN, jaw + ROOT], abs=2 * PIXEL / EYES)
    assert upper[:, : SIZE // 4].max() < 0.01


def test_lips_that_meet_show_no_teeth():
    upper, _, lower = teeth_maps(face(jaw=0.0))
    line = slice(SIZE // 2 - 1, SIZE // 2 + 2)
    assert max(upper[line].max(), lower[line].max()) < 0.4


def test_gaps_are_between_teeth():
    row = teeth_maps(face())[1][SIZE // 2 - 10]
    peaks = [
        (i + 0.5 - SIZE / 2) * PIXEL / EYES
        for i in range(1, SIZE - 1)
        if row[i] > 0.4 and row[i] == row[i - 1 : i + 2].max()
    ]
    assert sorted({round(abs(peak), 2) for peak in peaks}) == pytest.approx(BETWEEN_TEETH, abs=0.02)


def test_teeth_turn_with_the_face():
    upright, turned = teeth_maps(face()), teeth_maps(face(angle=0.4))
    angle = torch.tensor(0.4)
    inverse = torch.tensor([[[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]]])
    grid = torch.nn.functional.affine_grid(inverse, [1, 3, SIZE, SIZE], align_corners=False)
    restored = torch.nn.functional.grid_sample(turned[None], grid, align_corners=False)[0]
    inner = slice(SIZE // 4, -SIZE // 4)
    assert (restored - upright)[:, inner, inner].abs().mean() < 0.01
