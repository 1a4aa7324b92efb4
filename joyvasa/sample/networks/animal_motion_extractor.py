"""M of the compact networks for animals: landmarks in the face crop, turned into the keypoints of people."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.animal_landmarks import (
    EYE_LIDS,
    LANDMARKS,
    MIRRORED_LANDMARKS,
    MOUTH_CORNERS,
    WINDOW_EYES_Y,
    WINDOW_PIXELS,
    WINDOW_UNITS,
    AnimalLandmarks,
    AnimalLandmarksConfig,
)
from joyvasa.sample.networks.layers import pixel_centers, sample_at
from joyvasa.sample.networks.points import (
    BROW_MIDDLE,
    CHIN,
    FOREHEAD,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    KEYPOINTS,
    LEFT_BROW,
    LEFT_CORNER,
    LEFT_JAW,
    LEFT_LIDS,
    LEFT_SIDE,
    LOWER_LIP,
    NOSE_BRIDGE,
    NOSE_TIP,
    RIGHT_BROW,
    RIGHT_CORNER,
    RIGHT_JAW,
    RIGHT_LIDS,
    RIGHT_SIDE,
    UPPER_LIP,
)

# The usual crop, see `joyvasa.faces.animals`: the unit of the face and the middle of its eyes, in sides of the crop.
CROP_UNIT, CROP_EYES_AT = 0.1875, (0.5, 0.4945)
PASSES = 2  # each after the first aligns its window to the landmarks of the previous one
UNIT_LIMITS = (0.6, 1.6)  # of the unit of a face relative to that of the window in which it was found

EXPRESSION_GAIN = 1.5  # muzzles open wider than mouths of people, and large eyes need longer lids to shut
# Lengths in units. Keypoints of lids have the opening that W was trained with, whatever the size of the eyes.
LID_OPENING = 0.22
LIP_THICKNESS = (0.08, 0.1)  # upper and lower
BROW_ABOVE_EYE, BRIDGE_ABOVE_EYES = 0.3, 0.25
PIVOT = (0.0, 0.55, 1.15)  # the top of the neck, from the middle of the eyes to the right, down and backwards
# Depth of the keypoints behind the eyes, typical of cats and dogs: no picture from the front shows it.
DEPTHS = {
    FOREHEAD: 0.1,
    CHIN: -0.3,
    NOSE_TIP: -0.6,
    RIGHT_JAW: 0.25,
    LEFT_JAW: 0.25,
    RIGHT_SIDE: 0.5,
    LEFT_SIDE: 0.5,
    NOSE_BRIDGE: -0.2,
    BROW_MIDDLE: -0.15,
    RIGHT_CORNER: -0.3,
    LEFT_CORNER: -0.3,
    INNER_UPPER_LIP: -0.45,
    INNER_LOWER_LIP: -0.45,
    UPPER_LIP: -0.5,
    LOWER_LIP: -0.45,
}


class AnimalMotionExtractor(nn.Module):
    """Motion extractor with the outputs of the published one.

    Heads of animals differ too much for a common shape, so the portrait itself is the frontal head: its angles and its
    expression are zero, and only relative motion applies, as it does for animals anyway.
    """

    depths: Tensor  # (keypoints,)

    def __init__(self, config: AnimalLandmarksConfig) -> None:
        super().__init__()
        self.landmarks = AnimalLandmarks(config)
        self.n_keypoints = KEYPOINTS
        depths = torch.zeros(KEYPOINTS)
        for index, depth in DEPTHS.items():
            depths[index] = depth
        self.register_buffer("depths", depths, persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Detect landmarks in the usual crop, and compute keypoints.

        Args:
            image: RGB image in [0, 1], shape (B, 3, H, W).

        Returns:
            Tensors, float32: `pitch`, `yaw`, `roll` (B, 1) and `exp` (B, 3 * keypoints), all zero; `t` (B, 3); `scale`
            (B, 1); `kp` (B, 3 * keypoints).
        """
        with full_precision(image):
            image = image.float()
            eyes = (torch.tensor(CROP_EYES_AT, device=image.device) * 2 - 1).expand(len(image), 2)
            down = torch.tensor([0.0, 2 * CROP_UNIT], device=image.device).expand(len(image), 2)
            landmarks = read_landmarks(self.landmarks, image, eyes, down)
            points, unit = to_keypoints(landmarks, self.depths)

            pivot = torch.tensor(PIVOT, device=image.device) * unit[:, :, None] + _pad(middle_of_eyes(landmarks))
            scale = EXPRESSION_GAIN * unit  # expressions are in units of the scale
            zeros = points.new_zeros(len(points), 1)
            return {
                "pitch": zeros,
                "yaw": zeros,
                "roll": zeros,
                "t": torch.cat([pivot[:, 0, :2], zeros], 1),
                "exp": points.new_zeros(len(points), 3 * KEYPOINTS),
                "scale": scale,
                "kp": ((points - pivot) / scale[:, :, None]).flatten(1),
            }


def read_landmarks(network: AnimalLandmarks, image: Tensor, eyes: Tensor, down: Tensor) -> Tensor:
    """Find the landmarks of one face in each image, from a rough position.

    Args:
        network: network for the landmarks.
        image: RGB in [0, 1], shape (B, 3, H, H).
        eyes: middle of the eyes, x and y in [-1, 1], shape (B, 2).
        down: direction from eyes to mouth, as long as the unit of the face, shape (B, 2).

    Returns:
        Landmarks, x and y in [-1, 1], shape (B, landmarks, 2).
    """
    pooled = _shrink(image, down)
    landmarks = image.new_zeros(len(image), len(LANDMARKS), 2)
    for _ in range(PASSES):
        right = torch.stack([down[:, 1], -down[:, 0]], -1)
        axes = torch.stack([right, down], 1) * (WINDOW_UNITS / 2)  # (B, 2, 2): window to image, for row vectors
        center = (eyes + WINDOW_EYES_Y * down)[:, None]
        windows = sample_at(pooled, pixel_centers(WINDOW_PIXELS, image.device) @ axes[:, None] + center[:, None])

        # The mean of the window and its mirror image is steadier than either.
        found, mirrored = network(torch.cat([windows, windows.flip(-1)])).chunk(2)
        mirrored = mirrored[:, list(MIRRORED_LANDMARKS)] * mirrored.new_tensor([-1.0, 1.0])
        landmarks = (found + mirrored) / 2 @ axes + center

        eyes, mouth = middle_of_eyes(landmarks), landmarks[:, list(MOUTH_CORNERS)].mean(1)
        limits = down.norm(dim=-1, keepdim=True)
        unit = measure_units(landmarks).clamp(UNIT_LIMITS[0] * limits, UNIT_LIMITS[1] * limits)
        across = mouth - eyes
        down = across / across.norm(dim=-1, keepdim=True).clamp(min=1e-6) * unit
    return landmarks


def middle_of_eyes(landmarks: Tensor) -> Tensor:
    """Return the middle of the eyes, (B, landmarks, 2) to (B, 2)."""
    return landmarks[:, [*EYE_LIDS[0], *EYE_LIDS[1]]].mean(1)


def measure_units(landmarks: Tensor) -> Tensor:
    """Return the mean of the distance between the eyes and that from eyes to mouth, (B, landmarks, 2) to (B, 1)."""
    right, left = (landmarks[:, list(lids)].mean(1) for lids in EYE_LIDS)
    mouth = landmarks[:, list(MOUTH_CORNERS)].mean(1)
    return (((left - right).norm(dim=-1) + (mouth - (right + left) / 2).norm(dim=-1)) / 2)[:, None]


def to_keypoints(landmarks: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Turn landmarks into the keypoints of people.

    Args:
        landmarks: landmarks, shape (B, landmarks, 2).
        depths: depth of the keypoints in units, shape (keypoints,).

    Returns:
        Keypoints, shape (B, keypoints, 3), and the unit of each face, shape (B, 1).
    """
    at = dict(zip(LANDMARKS, landmarks.unbind(1), strict=True))
    unit = measure_units(landmarks)
    eyes = middle_of_eyes(landmarks)
    down = landmarks[:, list(MOUTH_CORNERS)].mean(1) - eyes
    down = down / down.norm(dim=-1, keepdim=True).clamp(min=1e-6) * unit

    flat = landmarks.new_zeros(len(landmarks), KEYPOINTS, 2)
    same = {
        FOREHEAD: "forehead",
        CHIN: "chin",
        NOSE_TIP: "nose",
        RIGHT_JAW: "right_jaw",
        LEFT_JAW: "left_jaw",
        RIGHT_SIDE: "right_side",
        LEFT_SIDE: "left_side",
        RIGHT_CORNER: "right_corner",
        LEFT_CORNER: "left_corner",
        INNER_UPPER_LIP: "upper_lip",
        INNER_LOWER_LIP: "lower_lip",
    }
    for index, name in same.items():
        flat[:, index] = at[name]
    flat[:, UPPER_LIP] = at["upper_lip"] - LIP_THICKNESS[0] * down
    flat[:, LOWER_LIP] = at["lower_lip"] + LIP_THICKNESS[1] * down
    flat[:, NOSE_BRIDGE] = eyes
    flat[:, BROW_MIDDLE] = eyes - BRIDGE_ABOVE_EYES * down
    for (upper, lower), brow, side in ((RIGHT_LIDS, RIGHT_BROW, "right"), (LEFT_LIDS, LEFT_BROW, "left")):
        flat[:, lower] = at[f"{side}_lower_lid"]
        flat[:, upper] = flat[:, lower] - LID_OPENING * down
        flat[:, brow] = at[f"{side}_upper_lid"] - BROW_ABOVE_EYE * down
    return torch.cat([flat, (depths * unit)[..., None]], -1), unit


def _pad(points: Tensor) -> Tensor:
    return torch.cat([points, torch.zeros_like(points[:, :1])], 1)[:, None]


def _shrink(image: Tensor, down: Tensor) -> Tensor:
    """Average pixels of an image that is much larger than the windows, which would alias."""
    pixels_per_unit = float(down.norm(dim=-1).min()) * image.shape[-1] / 2
    factor = int(pixels_per_unit * WINDOW_UNITS / WINDOW_PIXELS)
    return avg_pool2d(image, factor) if factor > 1 and image.shape[-1] % factor == 0 else image
