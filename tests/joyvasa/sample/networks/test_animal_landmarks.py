"""Landmarks of animals, and the keypoints made of them."""

import numpy as np
import torch

from joyvasa.motion.keypoints import KeypointInfo, transform_keypoints
from joyvasa.networks import build
from joyvasa.sample.networks.animal_landmarks import LANDMARKS, MIRRORED_LANDMARKS, expected_positions
from joyvasa.sample.networks.animal_motion_extractor import (
    CROP_EYES_AT,
    CROP_UNIT,
    LID_OPENING,
    measure_units,
    read_landmarks,
    to_keypoints,
)
from joyvasa.sample.networks.points import INNER_LOWER_LIP, LEFT_LIDS, MIRRORED, NOSE_TIP, RIGHT_LIDS

FACE = {
    "right_upper_lid": (-0.2, -0.05), "right_lower_lid": (-0.2, 0.05), "left_upper_lid": (0.2, -0.05),
    "left_lower_lid": (0.2, 0.05), "nose": (0, 0.2), "right_corner": (-0.1, 0.35), "left_corner": (0.1, 0.35),
    "upper_lip": (0, 0.34), "lower_lip": (0, 0.37), "chin": (0, 0.5), "forehead": (0, -0.4),
    "right_side": (-0.4, 0.1), "left_side": (0.4, 0.1), "right_jaw": (-0.3, 0.35), "left_jaw": (0.3, 0.35),
}  # fmt: skip


def landmarks() -> torch.Tensor:
    return torch.tensor([[FACE[name] for name in LANDMARKS]])


class FixedLandmarks(torch.nn.Module):
    """Finds the landmarks of `FACE` in every image, wherever the window is."""

    def __init__(self, axes: torch.Tensor, center: torch.Tensor) -> None:
        super().__init__()
        self.points = (landmarks()[0] - center) @ axes.inverse()

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        n = len(window) // 2
        mirrored = self.points[list(MIRRORED_LANDMARKS)] * torch.tensor([-1.0, 1.0])
        return torch.cat([self.points.expand(n, -1, -1), mirrored.expand(n, -1, -1)])


def test_mirroring_twice_restores_the_order_and_exchanges_right_and_left():
    order = list(MIRRORED_LANDMARKS)
    assert [order[i] for i in order] == list(range(len(LANDMARKS)))
    for name, other in zip(LANDMARKS, (LANDMARKS[i] for i in order), strict=True):
        swapped = name.replace("right", "*").replace("left", "right").replace("*", "left")
        assert other == swapped


def test_the_expected_position_of_a_sharp_map_is_its_peak():
    maps = torch.full((1, 1, 16, 16), -20.0)
    maps[0, 0, 3, 12] = 20.0
    torch.testing.assert_close(expected_positions(maps)[0, 0], torch.tensor([12.5 / 8 - 1, 3.5 / 8 - 1]))


def test_the_unit_is_the_mean_of_eye_distance_and_eyes_to_mouth():
    assert measure_units(landmarks()).item() == np.float32((0.4 + 0.35) / 2)


def test_keypoints_lie_at_their_landmarks_and_lids_have_the_usual_opening():
    points, unit = to_keypoints(landmarks(), torch.zeros(21))
    torch.testing.assert_close(points[0, NOSE_TIP, :2], torch.tensor(FACE["nose"]))
    torch.testing.assert_close(points[0, INNER_LOWER_LIP, :2], torch.tensor(FACE["lower_lip"]))
    for upper, lower in (RIGHT_LIDS, LEFT_LIDS):
        opening = points[0, lower, 1] - points[0, upper, 1]
        torch.testing.assert_close(opening, LID_OPENING * unit[0, 0])


def test_keypoints_of_a_mirrored_face_are_mirrored():
    mirrored = landmarks()[:, list(MIRRORED_LANDMARKS)] * torch.tensor([-1.0, 1.0])
    points, _ = to_keypoints(landmarks(), torch.zeros(21))
    other, _ = to_keypoints(mirrored, torch.zeros(21))
    swapped = list(range(21))
    for a, b in MIRRORED:
        swapped[a], swapped[b] = b, a
    torch.testing.assert_close(other[:, swapped] * torch.tensor([-1.0, 1.0, 1.0]), points)


def test_landmarks_are_read_through_a_tilted_window_and_its_mirror_image():
    eyes, down = torch.tensor([[0.05, 0.02]]), torch.tensor([[0.1, 0.3]])
    axes = torch.stack([torch.tensor([0.3, -0.1]), down[0]]) * 2
    network = FixedLandmarks(axes, eyes[0] + 0.45 * down[0])
    image = torch.zeros(1, 3, 64, 64)
    # The first pass is exact; the second has a window of its own, in which this network is wrong by its change.
    first = network(torch.zeros(2, 3, 8, 8))[:1] @ axes + eyes + 0.45 * down
    torch.testing.assert_close(first, landmarks(), atol=1e-5, rtol=0)
    assert read_landmarks(network, image, eyes, down).shape == (1, len(LANDMARKS), 2)


def test_the_extractor_has_the_outputs_of_the_published_one_without_pose_and_expression():
    network = build("compact_animal_motion_extractor")
    with torch.inference_mode():
        heads = network(torch.rand(2, 3, 256, 256))
    info = KeypointInfo.from_heads(heads)
    assert not any(value.any() for value in (info.pitch, info.yaw, info.roll, info.expression))
    points = transform_keypoints(info)
    assert points.shape == (2, 21, 3)
    assert points.isfinite().all()


def test_posed_keypoints_are_the_landmarks_that_were_read():
    network = build("compact_animal_motion_extractor")
    image = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        points = transform_keypoints(KeypointInfo.from_heads(network(image)))
        eyes = torch.tensor([CROP_EYES_AT]) * 2 - 1
        read = read_landmarks(network.landmarks, image, eyes, torch.tensor([[0.0, 2 * CROP_UNIT]]))
    torch.testing.assert_close(points[0, NOSE_TIP, :2], read[0, LANDMARKS.index("nose")], atol=1e-4, rtol=0)
