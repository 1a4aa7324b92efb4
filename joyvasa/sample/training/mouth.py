"""Painting the inside of a mouth: a dark cavity, a tongue, lower teeth on the jaw, upper teeth on the skull."""

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
from joyvasa.sample.training.mesh_points import load_mesh_points

DEEP, WALL, TONGUE, TEETH = ([18, 6, 8], [70, 28, 26], [150, 74, 70], [236, 221, 200])  # RGB in bright light
BRIGHT_SKIN = 150  # mean of RGB of a face in bright light
SKIN = np.array([1.24, 0.94, 0.82])  # its RGB divided by their mean; median of the portraits
MAX_TINT = 1.04  # of colored light on the inside of a mouth; stronger tints are mostly the color of the skin
MIN_OPENING_PX = 1.2  # smaller openings are not visible
Array = np.ndarray


def fill_polygon(size: int, points: Array) -> Array:
    """Draw a filled polygon with soft edges, float32 (size, size) in 0 to 1; points in pixels, (n, 2)."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def paint_mouth(picture: Array, source: Array, head: Head, face: Array, pose: Pose) -> tuple[Array, Array]:
    """Paint the inside of an open mouth.

    Args:
        picture: driven picture, float32 RGB (size, size, 3).
        source: portrait, uint8 RGB; determines the light in the mouth.
        head: head of the portrait.
        face: face with its expression, in the frame of the head.
        pose: pose of the driven head.

    Returns:
        The picture and the painted area, (size, size) in 0 to 1. Nothing is painted unless the mouth is wider open
        than in the portrait.
    """
    points, size = load_mesh_points(), head.size
    upper, lower = face[points.lips_upper[0]], face[points.lips_lower[0]]
    gap = float(lower[5, 1] - upper[5, 1])
    if gap * pose.scale < MIN_OPENING_PX or gap < 1.15 * head.gap:
        return picture, np.zeros((size, size), np.float32)
    mask = fill_polygon(size, pose.to_image(np.concatenate([upper, lower[::-1][1:-1]]))[:, :2])
    inside = _paint_inside(head.size, upper, lower, pose, _estimate_light(source, head))
    return picture + mask[..., None] * (inside - picture), mask


def _paint_inside(size: int, upper: Array, lower: Array, pose: Pose, light: Array) -> Array:
    across = np.linspace(-1, 1, 21)
    middle, half = (upper[0, 0] + upper[10, 0]) / 2, (upper[10, 0] - upper[0, 0]) / 2
    top, rim, depth = upper[5, 1], lower[5, 1], float(lower[5, 2])
    center = pose.to_image(np.array([middle, (top + rim) / 2, upper[5, 2] + 0.1]))
    width, height = max(4.0, half * pose.scale), max(3.0, (rim - top) * pose.scale)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    from_center = np.clip(np.hypot((x - center[0]) / width, (y - center[1]) / height * 0.9), 0, 1)[..., None]
    picture = (np.array(DEEP) * (1 - from_center) + np.array(WALL) * from_center) * light

    def band(x: Array, edge: Array, root: float, z: Array, blur: float) -> Array:
        front, back = np.column_stack([x, edge, z]), np.column_stack([x, np.full(21, root), z])[::-1]
        filled = fill_polygon(size, pose.to_image(np.concatenate([front, back]))[:, :2])
        return cv2.GaussianBlur(filled, (0, 0), blur)[..., None]

    # Tongue and shading from the center.
    wide = 0.75 * half * across
    tongue = band(middle + wide, rim - 0.09 * np.cos(1.43 * across), rim + 0.1, np.full(21, depth + 0.25), 1.6)
    picture = picture + tongue * (np.array(TONGUE) * light - picture)
    shade = np.clip(1 - 0.7 * np.abs((x - center[0]) / width) ** 2.5, 0.2, 1)[..., None]
    white = np.minimum(np.array(TEETH) * light, 245) * shade

    # Lower teeth, then upper teeth with the gaps between them.
    wide = LOWER_REACH * across
    edge = rim - LOWER_SHOWN + LOWER_BEND * wide**2
    below = band(lower[5, 0] + wide, edge, rim + ROOT, depth + 0.02 + 0.7 * wide**2, 0.6)
    picture = picture + 0.8 * below * (LOWER_TONE * white - picture)
    wide = UPPER_REACH * across
    bite, deep = top + UPPER_SHOWN - UPPER_BEND * wide**2, float(upper[5, 2]) + 0.02 + 0.5 * wide**2
    above = band(upper[5, 0] + wide, bite, top - ROOT, deep, 0.6)
    gaps = [
        pose.to_image(np.array([[upper[5, 0] + side * gap, end, deep[10]] for end in (top - ROOT, bite[10])]))
        for gap in BETWEEN_TEETH
        for side in (-1, 1)
    ]
    picture = picture + above * (white * (1 - LINE_TONE * _lines(size, gaps, 0.6)) - picture)
    dark = _lines(size, [pose.to_image(upper)], 1.2)  # the shadow of the upper lip
    return picture * (1 - 0.4 * dark)


def _lines(size: int, lines: Sequence[Array], blur: float) -> Array:
    """Draw soft lines, float32 (size, size, 1) in 0 to 1; points of each line in pixels, (n, 2 or more)."""
    drawn = np.zeros((size, size), np.uint8)
    for line in lines:
        cv2.polylines(drawn, [np.round(line[:, :2] * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    return np.clip(1.5 * cv2.GaussianBlur(drawn, (0, 0), blur).astype(np.float32)[..., None] / 255, 0, 1)


def _estimate_light(source: Array, head: Head) -> Array:
    """Estimate the light on the face in red, green and blue, (3,); 1 for average skin in bright light."""
    cheeks = head.sample_pixels(source, head.pose.to_image(head.face[load_mesh_points().cheeks])).mean(0)
    mean = max(float(cheeks.mean()), 1.0)
    tint = np.clip(cheeks / mean / SKIN, 1 / MAX_TINT, MAX_TINT)
    return np.clip(mean / BRIGHT_SKIN, 0.35, 1.25) * tint
