"""Inside of an animal's mouth: a dark cavity with a tongue, drawn from keypoints instead of a person's teeth."""

from __future__ import annotations

import torch
from torch import Tensor

from joyvasa.sample.networks.layers import cat_channels_last
from joyvasa.sample.networks.points import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_CORNER,
    LEFT_LOWER_LID,
    RIGHT_CORNER,
    RIGHT_LOWER_LID,
)

# Lengths are in distances between the eyes, as of teeth.
REACH = 0.25  # distance above the lip up to which paint belongs to the mouth, not to the eyes
SOFT = 0.1  # width of soft edges, relative to the mouth's opening or half its width
TONGUE_WIDTH, TONGUE_HEIGHT, TONGUE_AT = 0.62, 0.42, 0.8  # half sizes and center, relative to half width and opening
TONGUE_OPENING = (0.05, 0.16)  # openings at which a tongue starts to show and shows completely
OWN_OPENING = (0.08, 0.2)  # openings of the portrait's mouth from which its own inside is shown instead
DEEP, WALL, TONGUE = (0.07, 0.025, 0.03), (0.25, 0.10, 0.10), (0.62, 0.32, 0.33)  # RGB in bright light
BRIGHT, LIGHT_LIMITS = 0.55, (0.35, 1.2)  # mean of RGB of fur in bright light; limits of the light in a mouth


def draw_mouth_at(source: Tensor, driving: Tensor, positions: Tensor) -> Tensor:
    """Draw maps of the mouth.

    Args:
        source: source keypoints, x and y in [-1, 1], shape (B, keypoints, 3).
        driving: driving keypoints, shape (B, keypoints, 3).
        positions: x and y in [-1, 1], shape (H, W, 2).

    Returns:
        Maps in [0, 1], shape (B, 3, H, W), channels last: depth of the mouth, tongue, and where the portrait's
        own mouth is kept. All are 0 outside of the area around the mouth.
    """
    along = driving[:, LEFT_LOWER_LID, :2] - driving[:, RIGHT_LOWER_LID, :2]
    eyes = along.norm(dim=-1).clamp(min=1e-2)[:, None, None]  # (B, 1, 1)
    along = along / along.norm(dim=-1, keepdim=True).clamp(min=1e-2)

    x, y = positions.unbind(-1)
    across, down = along.unbind(-1)
    u = x * across[:, None, None] + y * down[:, None, None]  # (B, H, W): position along the eyes, and below
    v = y * across[:, None, None] - x * down[:, None, None]

    def place(index: int) -> tuple[Tensor, Tensor]:
        px, py = driving[:, index, :2].unbind(-1)
        return (px * across + py * down)[:, None, None], (py * across - px * down)[:, None, None]

    (upper_u, upper_v), (lower_u, lower_v) = place(INNER_UPPER_LIP), place(INNER_LOWER_LIP)
    half = ((place(LEFT_CORNER)[0] - place(RIGHT_CORNER)[0]) / 2).clamp(min=1e-2)
    gap = (lower_v - upper_v).clamp(min=1e-3)
    area = _ramp((v - upper_v) / eyes + REACH, 0, REACH / 2)

    depth = (1 - (2 * (v - upper_v) / gap - 0.7).square() / 2).clamp(0, 1) * (
        1 - ((u - upper_u) / (1.2 * half)).square()
    ).clamp(0, 1)
    center_u, center_v = (upper_u + lower_u) / 2, upper_v + TONGUE_AT * gap
    radius = ((u - center_u) / (TONGUE_WIDTH * half)).square() + ((v - center_v) / (TONGUE_HEIGHT * gap)).square()
    shown = _ramp(gap / eyes, *TONGUE_OPENING)
    tongue = shown * _ramp(1 - radius, -SOFT, 2 * SOFT)

    own = source[:, INNER_LOWER_LIP, :2] - source[:, INNER_UPPER_LIP, :2]
    own = _ramp(own.norm(dim=-1)[:, None, None] / eyes, *OWN_OPENING)
    # Depth is at least a little above 0 in the whole area, which marks paint as that of the mouth.
    marked = area * (0.05 + 0.95 * depth)
    return cat_channels_last(torch.stack([marked, area * tongue, own.expand_as(area) * area], 1))


def color_mouth(color: Tensor, brush: Tensor, pixels: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the colors painted in a mouth.

    Args:
        color: painted colors, shape (B, 3, H, W).
        brush: opacity of the paint, shape (B, 1, H, W).
        pixels: warped pixels of the whole image, whose middle shows the light, shape (B, 3, N, N).
        maps: result of `draw_mouth_at`, shape (B, 3, H, W).

    Returns:
        Colors and opacity.
    """
    marked, tongue, own = maps.split(1, 1)
    quarter = pixels.shape[-1] // 4
    middle = pixels[..., quarter:-quarter, quarter:-quarter]
    light = (middle.mean((1, 2, 3), keepdim=True) / BRIGHT).clamp(*LIGHT_LIMITS)
    deep, wall, pink = (color.new_tensor(rgb)[:, None, None] for rgb in (DEEP, WALL, TONGUE))
    inside = wall + marked * (deep - wall)
    inside = (inside + tongue * (pink - inside)) * light
    mouth = (marked * 20).clamp(max=1)  # 1 in the area of the mouth
    return color + mouth * (inside - color), brush * (1 - mouth * own)


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    """Return 0 up to `low`, 1 from `high`, linear in between."""
    return ((x - low) / (high - low)).clamp(0, 1)
