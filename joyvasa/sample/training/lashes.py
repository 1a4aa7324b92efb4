"""The dark line of the lashes where shut lids meet."""

from __future__ import annotations

import numpy as np

from joyvasa.sample.training.head import Expression, Head, Pose
from joyvasa.sample.training.mesh_points import mesh_points

SEEN_FROM = 0.6  # blink from which lashes become a line
THICK = 0.016  # half of it in the middle of the eye, distances between the eyes; nothing at its corners
OPAQUE = 0.85
DARKEST = 25  # percentile of the pixels around the upper lid: its lashes
NODES = 48
MARGIN = 4  # pixels around the line that are looked at
Array = np.ndarray


def draw_lashes(picture: Array, source: Array, head: Head, face: Array, expression: Expression, pose: Pose) -> Array:
    """Draws the lashes of eyes that are nearly shut.

    Args:
        picture: driven picture, float32 RGB (size, size, 3).
        source: the portrait, uint8; its lashes have the colour.
        head: of the portrait.
        face: with its expression, in the head's frame.
        expression: how far eyes are shut.
        pose: of the driven head.

    Returns:
        the picture.
    """
    picture = picture.copy()
    for shut, (upper, lower) in zip(expression.blink, mesh_points().eyes, strict=True):
        seen = OPAQUE * float(np.clip((shut - SEEN_FROM) / (1 - SEEN_FROM), 0, 1))
        if not seen:
            continue
        line = _smooth(pose.place((face[upper] + face[lower]) / 2)[:, :2])
        thick = THICK * pose.scale * np.sin(np.pi * np.linspace(0, 1, NODES)) ** 0.5
        (left, top), (right, bottom) = line.min(0).astype(int) - MARGIN, line.max(0).astype(int) + MARGIN + 1
        left, right = np.clip([left, right], 0, head.size)
        top, bottom = np.clip([top, bottom], 0, head.size)
        y, x = np.mgrid[top:bottom, left:right]
        away = np.hypot(x[..., None] - line[:, 0], y[..., None] - line[:, 1]) - thick
        alpha = seen * np.clip(0.5 - away.min(-1, initial=MARGIN), 0, 1).astype(np.float32)
        part = picture[top:bottom, left:right]
        part += alpha[..., None] * (_colour(source, head, upper) - part)
    return picture


def _smooth(points: Array) -> Array:
    """A parabola over the chord of the corners through points of a lid; (NODES, 2)."""
    along = np.linspace(0, 1, len(points))
    chord = points[0] + along[:, None] * (points[-1] - points[0])
    arch = along * (1 - along)
    height = (arch @ (points - chord)) / (arch @ arch)
    at = np.linspace(0, 1, NODES)[:, None]
    return points[0] + at * (points[-1] - points[0]) + at * (1 - at) * height


def _colour(source: Array, head: Head, upper: Array) -> Array:
    """Of the darker pixels about the rim of the upper lid in the portrait."""
    rim = _smooth(head.pose.place(head.face[upper])[:, :2])
    around = np.concatenate([rim + np.array([0, step]) for step in (-1, 0, 1, 2)])
    pixels = head.pixels(source, around).astype(np.float32)
    light = pixels.sum(1)
    return pixels[light <= np.percentile(light, DARKEST)].mean(0)
