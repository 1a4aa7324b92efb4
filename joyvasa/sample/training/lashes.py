"""Drawing the dark line of the lashes where shut lids meet."""

from __future__ import annotations

import numpy as np

from joyvasa.sample.training.head import Expression, Head, Pose
from joyvasa.sample.training.mesh_points import load_mesh_points

MIN_BLINK = 0.6  # closure at which lashes become visible as a line
HALF_WIDTH = 0.016  # of the line in the middle of the eye, eye distances; zero at the corners
OPACITY = 0.85
DARKEST = 25  # percentile of the pixels around the upper lid that count as lashes
NODES = 48
MARGIN = 4  # pixels around the line
Array = np.ndarray


def draw_lashes(picture: Array, source: Array, head: Head, face: Array, expression: Expression, pose: Pose) -> Array:
    """Draw the lashes of eyes that are nearly shut.

    Args:
        picture: driven picture, float32 RGB (size, size, 3).
        source: portrait, uint8 RGB; determines the color of the lashes.
        head: head of the portrait.
        face: face with its expression, in the frame of the head.
        expression: expression of the face.
        pose: pose of the driven head.

    Returns:
        A new picture.
    """
    picture = picture.copy()
    for shut, (upper, lower) in zip(expression.blink, load_mesh_points().eyes, strict=True):
        opacity = OPACITY * float(np.clip((shut - MIN_BLINK) / (1 - MIN_BLINK), 0, 1))
        if not opacity:
            continue

        line = _fit_arc(pose.to_image((face[upper] + face[lower]) / 2)[:, :2])
        half_width = HALF_WIDTH * pose.scale * np.sin(np.pi * np.linspace(0, 1, NODES)) ** 0.5
        (left, top), (right, bottom) = line.min(0).astype(int) - MARGIN, line.max(0).astype(int) + MARGIN + 1
        left, right = np.clip([left, right], 0, head.size)
        top, bottom = np.clip([top, bottom], 0, head.size)

        y, x = np.mgrid[top:bottom, left:right]
        distance = np.hypot(x[..., None] - line[:, 0], y[..., None] - line[:, 1]) - half_width
        alpha = opacity * np.clip(0.5 - distance.min(-1, initial=MARGIN), 0, 1).astype(np.float32)
        part = picture[top:bottom, left:right]
        part += alpha[..., None] * (_lash_color(source, head, upper) - part)
    return picture


def _fit_arc(points: Array) -> Array:
    """Fit a parabola over the chord of the corners to points of a lid, (NODES, 2)."""
    along = np.linspace(0, 1, len(points))
    chord = points[0] + along[:, None] * (points[-1] - points[0])
    arch = along * (1 - along)
    height = (arch @ (points - chord)) / (arch @ arch)
    at = np.linspace(0, 1, NODES)[:, None]
    return points[0] + at * (points[-1] - points[0]) + at * (1 - at) * height


def _lash_color(source: Array, head: Head, upper: Array) -> Array:
    """Return the mean color of the darkest pixels around the rim of the upper lid in the portrait."""
    rim = _fit_arc(head.pose.to_image(head.face[upper])[:, :2])
    around = np.concatenate([rim + np.array([0, step]) for step in (-1, 0, 1, 2)])
    pixels = head.sample_pixels(source, around).astype(np.float32)
    light = pixels.sum(1)
    return pixels[light <= np.percentile(light, DARKEST)].mean(0)
