"""The inside of a mouth, painted: a dark cavity, a tongue, lower teeth on the jaw, upper teeth on the skull."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from joyvasa.sample.networks.teeth import (
    BETWEEN_TEETH,
    LINE_TONE,
    LOWER_BEND,
    LOWER_REACH,
    LOWER_SHOWN,
    LOWER_TONE,
    ROOT,
    UPPER_BEND,
    UPPER_REACH,
    UPPER_SHOWN,
)
from joyvasa.sample.training.head import Head, Pose
from joyvasa.sample.training.mesh_points import mesh_points

DEEP, WALL, TONGUE, TEETH = ([18, 6, 8], [70, 28, 26], [150, 74, 70], [236, 221, 200])  # RGB in bright light
BRIGHT_SKIN = 150  # mean of RGB of a face in that light
SKIN = np.array([1.24, 0.94, 0.82])  # its RGB over their mean; the median of the portraits
TINTED = 1.04  # at most, the inside of a mouth by light that is not white: most of the rest is the skin's own colour
MIN_OPENING_PX = 1.2  # below it nothing is seen
Array = np.ndarray


def polygon(size: int, points: Array) -> Array:
    """A filled polygon with soft edges, float32 (size, size) in 0 to 1; points in pixels, (n, 2)."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def paint_mouth(picture: Array, source: Array, head: Head, face: Array, pose: Pose) -> tuple[Array, Array]:
    """Paints the inside of an open mouth.

    Args:
        picture: driven picture, float32 RGB (size, size, 3).
        source: the portrait, uint8; its light is that of the mouth.
        head: of the portrait.
        face: with its expression, in the head's frame.
        pose: of the driven head.

    Returns:
        the picture, and where it was painted, (size, size) in 0 to 1; untouched where the mouth is not wider open
        than in the portrait.
    """
    points, size = mesh_points(), head.size
    upper, lower = face[points.lips_upper[0]], face[points.lips_lower[0]]
    gap = float(lower[5, 1] - upper[5, 1])
    if gap * pose.scale < MIN_OPENING_PX or gap < 1.15 * head.gap:
        return picture, np.zeros((size, size), np.float32)
    mask = polygon(size, pose.place(np.concatenate([upper, lower[::-1][1:-1]]))[:, :2])
    inside = _inside(head.size, upper, lower, pose, _light(source, head))
    return picture + mask[..., None] * (inside - picture), mask


def _inside(size: int, upper: Array, lower: Array, pose: Pose, light: Array) -> Array:
    across = np.linspace(-1, 1, 21)
    middle, half = (upper[0, 0] + upper[10, 0]) / 2, (upper[10, 0] - upper[0, 0]) / 2
    top, rim, depth = upper[5, 1], lower[5, 1], float(lower[5, 2])
    centre = pose.place(np.array([middle, (top + rim) / 2, upper[5, 2] + 0.1]))
    width, height = max(4.0, half * pose.scale), max(3.0, (rim - top) * pose.scale)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    from_centre = np.clip(np.hypot((x - centre[0]) / width, (y - centre[1]) / height * 0.9), 0, 1)[..., None]
    picture = (np.array(DEEP) * (1 - from_centre) + np.array(WALL) * from_centre) * light

    def band(x: Array, edge: Array, root: float, z: Array, blur: float) -> Array:
        front, back = np.column_stack([x, edge, z]), np.column_stack([x, np.full(21, root), z])[::-1]
        filled = polygon(size, pose.place(np.concatenate([front, back]))[:, :2])
        return cv2.GaussianBlur(filled, (0, 0), blur)[..., None]

    wide = 0.75 * half * across
    tongue = band(middle + wide, rim - 0.09 * np.cos(1.43 * across), rim + 0.1, np.full(21, depth + 0.25), 1.6)
    picture = picture + tongue * (np.array(TONGUE) * light - picture)
    shade = np.clip(1 - 0.7 * np.abs((x - centre[0]) / width) ** 2.5, 0.2, 1)[..., None]
    white = np.minimum(np.array(TEETH) * light, 245) * shade
    wide = LOWER_REACH * across
    edge = rim - LOWER_SHOWN + LOWER_BEND * wide**2
    below = band(lower[5, 0] + wide, edge, rim + ROOT, depth + 0.02 + 0.7 * wide**2, 0.6)
    picture = picture + 0.8 * below * (LOWER_TONE * white - picture)
    wide = UPPER_REACH * across
    bite, deep = top + UPPER_SHOWN - UPPER_BEND * wide**2, float(upper[5, 2]) + 0.02 + 0.5 * wide**2
    above = band(upper[5, 0] + wide, bite, top - ROOT, deep, 0.6)
    gaps = [
        pose.place(np.array([[upper[5, 0] + side * gap, end, deep[10]] for end in (top - ROOT, bite[10])]))
        for gap in BETWEEN_TEETH
        for side in (-1, 1)
    ]
    picture = picture + above * (white * (1 - LINE_TONE * _lines(size, gaps, 0.6)) - picture)
    dark = _lines(size, [pose.place(upper)], 1.2)  # the shadow of the upper lip
    return picture * (1 - 0.4 * dark)


def _lines(size: int, lines: Sequence[Array], blur: float) -> Array:
    """Soft lines, float32 (size, size, 1) in 0 to 1; points of each in pixels, (n, 2 or more)."""
    drawn = np.zeros((size, size), np.uint8)
    for line in lines:
        cv2.polylines(drawn, [np.round(line[:, :2] * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    return np.clip(1.5 * cv2.GaussianBlur(drawn, (0, 0), blur).astype(np.float32)[..., None] / 255, 0, 1)


def _light(source: Array, head: Head) -> Array:
    """How bright the face is in red, green and blue, (3,); 1 for skin as it usually is, in bright light."""
    cheeks = head.pixels(source, head.pose.place(head.face[mesh_points().cheeks])).mean(0)
    mean = max(float(cheeks.mean()), 1.0)
    tint = np.clip(cheeks / mean / SKIN, 1 / TINTED, TINTED)
    return np.clip(mean / BRIGHT_SKIN, 0.35, 1.25) * tint
