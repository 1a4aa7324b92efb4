"""Maps of teeth, drawn from keypoints with subpixel precision, which the generator can hardly learn from heatmaps."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from joyvasa.sample.networks.layers import cat_channels_last
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, LEFT_LOWER_LID, RIGHT_LOWER_LID

# Lengths are in distances between the eyes (62 mm). Widths: M. M. Ash, S. J. Nelson, "Wheeler's Dental Anatomy".
UPPER_SHOWN = 0.055  # visible length of the upper teeth below the lip
LOWER_SHOWN = 0.02  # visible length of the lower teeth above the lip
BETWEEN_TEETH = (0.0, 0.137, 0.242, 0.363)  # distances of the gaps from the middle: incisors and canine
UPPER_REACH, LOWER_REACH = 0.34, 0.23  # half the width of each row
UPPER_BEND, LOWER_BEND = 0.18, 0.3  # of the edges: offset toward the gums per squared distance from the middle
LOWER_TONE, LINE_TONE = 0.7, 0.25  # brightness of lower relative to upper teeth; darkening of the gaps
ROOT, RIM = 0.1, 0.018  # length of a row behind its own lip; margin to the other lip
SOFT, LINE = 0.048, 0.025  # width of an edge and half the width of a gap; a pixel of a 256-pixel image is 0.016
TEETH_MAPS = 3  # upper teeth, gaps, lower teeth


def draw_teeth_at(points: Tensor, positions: Tensor) -> Tensor:
    """Draw maps of upper teeth, gaps between teeth, and lower teeth.

    A row continues behind its own lip, because the generator knows what covers it, and ends at the other lip, so that
    closed lips show no teeth.

    Args:
        points: driving keypoints, x and y in [-1, 1], shape (B, keypoints, 3).
        positions: x and y in [-1, 1], shape (H, W, 2).

    Returns:
        Maps in [0, 1], shape (B, 3, H, W), channels last.
    """
    along = points[:, LEFT_LOWER_LID, :2] - points[:, RIGHT_LOWER_LID, :2]
    along = along / along.square().sum(-1, keepdim=True).clamp(min=1e-4)

    # Coordinates of all positions relative to the inner upper and the inner lower lip, each (B, H, W).
    u, v = _to_face_frame(positions[None], along[:, None, None])
    (upper_u, upper_v), (lower_u, lower_v) = (
        _to_face_frame(points[:, lip, :2], along) for lip in (INNER_UPPER_LIP, INNER_LOWER_LIP)
    )
    lower_u, lower_v = u - lower_u[:, None, None], v - lower_v[:, None, None]
    u, v = u - upper_u[:, None, None], v - upper_v[:, None, None]

    distance = u.abs()  # from the middle
    bite, below = UPPER_SHOWN - UPPER_BEND * u.square(), LOWER_BEND * lower_u.square() - LOWER_SHOWN
    upper = _inside(v + ROOT, bite - v, -lower_v - RIM, UPPER_REACH - distance)
    lower = _inside(lower_v - below, ROOT - lower_v, v - RIM, LOWER_REACH - lower_u.abs())
    to_gap = functools.reduce(torch.minimum, [(distance - gap).abs() if gap else distance for gap in BETWEEN_TEETH])
    lines = (1 - (to_gap / LINE).square()).clamp(min=0)
    return cat_channels_last(torch.stack([upper, lines, lower], 1))


def _to_face_frame(positions: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates of positions, (..., 2), along the eyes and down, in distances between the eyes."""
    (x, y), (ax, ay) = positions.unbind(-1), along.unbind(-1)
    return x * ax + y * ay, y * ax - x * ay


def _inside(*depths: Tensor) -> Tensor:
    """Return 1 inside all borders and exactly 0 outside (tiny numbers are slow), with soft edges."""
    return functools.reduce(torch.mul, [(depth / SOFT).add_(0.5).clamp_(0, 1) for depth in depths])
