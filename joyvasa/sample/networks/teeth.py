"""Where teeth are. Keypoints tell it to a fraction of a pixel, which the generator could hardly learn from blurs."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from joyvasa.sample.networks.layers import cat_channels_last, pixel_centers
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, LEFT_LOWER_LID, RIGHT_LOWER_LID

# Lengths in distances between the eyes, 62 mm. Widths of teeth: M. M. Ash, S. J. Nelson, "Wheeler's Dental Anatomy".
UPPER_SHOWN = 0.055  # of the upper teeth below the lip
LOWER_SHOWN = 0.02  # of the lower teeth above the lip
BETWEEN_TEETH = (0.0, 0.137, 0.242, 0.363)  # from the middle: widths of incisors and canine
UPPER_REACH, LOWER_REACH = 0.34, 0.23  # of each row to each side
UPPER_BEND, LOWER_BEND = 0.18, 0.3  # of their edges: this times the square of the way from the middle, into the gums
LOWER_TONE, LINE_TONE = 0.7, 0.25  # of lower teeth to upper ones; how much darker lines between teeth are
ROOT, RIM = 0.1, 0.018  # so far a row goes on behind its lip, and ends before the other one
SOFT, LINE = 0.048, 0.025  # widths of edges, and of half a line between teeth: a pixel of 256 is 0.016
GUIDES = 3


def draw_teeth(points: Tensor, size: int) -> Tensor:
    """Upper teeth, which hang below the upper lip, lines between teeth, and lower teeth, which stand above the lower.

    A row goes on behind its own lip, as the generator sees what covers it, and ends at the other one: lips that meet
    show none, and what little is painted between them is dark.

    Args:
        points: keypoints of the driven picture, shape (B, keypoints, 3), x and y in -1 to 1.
        size: side of the maps, pixels.

    Returns:
        shape (B, 3, size, size) in 0 to 1, channels last.
    """
    along = points[:, LEFT_LOWER_LID, :2] - points[:, RIGHT_LOWER_LID, :2]
    along = along / along.square().sum(-1, keepdim=True).clamp(min=1e-4)
    u, v = _in_face(pixel_centers(size, points.device)[None], along[:, None, None])
    (upper_u, upper_v), (lower_u, lower_v) = (
        _in_face(points[:, lip, :2], along) for lip in (INNER_UPPER_LIP, INNER_LOWER_LIP)
    )
    lower_u, lower_v = u - _everywhere(lower_u), v - _everywhere(lower_v)
    u, v = u - _everywhere(upper_u), v - _everywhere(upper_v)
    aside = u.abs()
    bite, below = UPPER_SHOWN - UPPER_BEND * u.square(), LOWER_BEND * lower_u.square() - LOWER_SHOWN
    upper = _inside(v + ROOT, bite - v, -lower_v - RIM, UPPER_REACH - aside)
    lower = _inside(lower_v - below, ROOT - lower_v, v - RIM, LOWER_REACH - lower_u.abs())
    apart = functools.reduce(torch.minimum, [(aside - gap).abs() if gap else aside for gap in BETWEEN_TEETH])
    lines = (1 - (apart / LINE).square()).clamp(min=0)
    return cat_channels_last(torch.stack([upper, lines, lower], 1))


def _in_face(places: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Places, (..., 2), along the eyes and downwards, in distances between the eyes."""
    (x, y), (ax, ay) = places.unbind(-1), along.unbind(-1)
    return x * ax + y * ay, y * ax - x * ay


def _everywhere(value: Tensor) -> Tensor:
    """One value of each picture, (B,), for all of its pixels."""
    return value[:, None, None]


def _inside(*depths: Tensor) -> Tensor:
    """1 within all of some borders and 0 without, with a soft edge; exact zeros: processors are slow close to them."""
    return functools.reduce(torch.mul, [(depth / SOFT).add_(0.5).clamp_(0, 1) for depth in depths])
