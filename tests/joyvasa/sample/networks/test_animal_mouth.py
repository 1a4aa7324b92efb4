"""The drawn inside of an animal's mouth."""

import torch

from joyvasa.networks import build
from joyvasa.sample.networks.animal_mouth import color_mouth, draw_mouth_at
from joyvasa.sample.networks.layers import pixel_centers
from joyvasa.sample.networks.points import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_CORNER,
    LEFT_LOWER_LID,
    RIGHT_CORNER,
    RIGHT_LOWER_LID,
)

SIZE = 64
MOUTH, TONGUE, OWN = range(3)


def points(gap: float) -> torch.Tensor:
    keypoints = torch.zeros(1, 21, 3)
    for index, (x, y) in {
        RIGHT_LOWER_LID: (-0.4, -0.3), LEFT_LOWER_LID: (0.4, -0.3), RIGHT_CORNER: (-0.3, 0.3), LEFT_CORNER: (0.3, 0.3),
        INNER_UPPER_LIP: (0, 0.3), INNER_LOWER_LIP: (0, 0.3 + gap),
    }.items():  # fmt: skip
        keypoints[0, index, :2] = torch.tensor([x, y])
    return keypoints


def draw_mouth(source: torch.Tensor, driving: torch.Tensor, size: int) -> torch.Tensor:
    return draw_mouth_at(source, driving, pixel_centers(size, driving.device))


def test_only_the_area_of_the_mouth_is_marked_and_the_eyes_are_not():
    maps = draw_mouth(points(0), points(0.3), SIZE)
    assert maps.shape == (1, 3, SIZE, SIZE)
    assert not maps[:, :, : SIZE // 2].any()
    assert maps[0, MOUTH, 46, 32] > 0.5
    assert 0 <= maps.min()
    assert maps.max() <= 1


def test_the_tongue_lies_on_the_lower_lip_of_an_open_mouth_only():
    opened, closed = draw_mouth(points(0), points(0.3), SIZE), draw_mouth(points(0), points(0.01), SIZE)
    rows = opened[0, TONGUE].amax(1).nonzero()
    middle = (rows.float().mean() + 0.5) * 2 / SIZE - 1
    assert 0.45 < middle < 0.65
    assert not closed[0, TONGUE].any()


def test_a_mouth_that_is_open_in_the_portrait_keeps_its_own_inside():
    assert not draw_mouth(points(0), points(0.3), SIZE)[0, OWN].any()
    assert draw_mouth(points(0.3), points(0.4), SIZE)[0, OWN, 46, 32] == 1


def test_paint_of_the_eyes_keeps_its_color_and_paint_of_the_mouth_is_dark_or_tongue():
    maps = draw_mouth(points(0), points(0.3), SIZE)
    gray = torch.full((1, 3, SIZE, SIZE), 0.6)
    color, brush = color_mouth(gray, torch.ones(1, 1, SIZE, SIZE), gray, maps)
    assert torch.equal(color[:, :, : SIZE // 2], gray[:, :, : SIZE // 2])
    cavity, tongue = color[0, :, 41, 32], color[0, :, 50, 32]
    assert cavity.max() < 0.2
    assert tongue[0] > 2 * cavity[0]
    assert (brush == 1).all()


def test_weights_of_people_fit_the_networks_of_animals():
    for name in ("warping", "generator"):
        build(f"compact_animal_{name}").load_state_dict(build(f"compact_{name}").state_dict())


def test_a_driven_animal_is_painted_without_the_teeth_of_people():
    feature = build("compact_appearance")(torch.rand(1, 3, SIZE * 4, SIZE * 4))
    out = build("compact_animal_warping")(feature, points(0), points(0.3))["out"]
    with torch.inference_mode():
        image = build("compact_animal_generator")(out)
    assert image.shape == (1, 3, SIZE * 4, SIZE * 4)
    torch.testing.assert_close(
        torch.nn.functional.pixel_shuffle(out[:, -48:], 4), draw_mouth(points(0), points(0.3), SIZE * 4)
    )
