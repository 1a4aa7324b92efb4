"""The inside of a mouth, painted: a dark cavity, a tongue, lower teeth on the jaw, upper teeth on the skull."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.training.sample.head import Head, Pose
from joyvasa.training.sample.mesh_points import mesh_points

DEEP, WALL, TONGUE, TEETH = ([18, 6, 8], [58, 22, 20], [135, 62, 62], [226, 214, 198])  # RGB in bright light
BRIGHT_SKIN = 150  # mean of RGB of a face in that light
SKIN = np.array([1.24, 0.94, 0.82])  # its RGB over their mean; the median of the portraits
TINTED = 1.2  # at most, the inside of a mouth by light that is not white
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
    inside = _inside(size, upper, lower, pose, _light(source, head))
    return picture + mask[..., None] * (inside - picture), mask


def _inside(size: int, upper: Array, lower: Array, pose: Pose, light: Array) -> Array:
    middle, half = (upper[0, 0] + upper[10, 0]) / 2, (upper[10, 0] - upper[0, 0]) / 2
    top, rim, depth = upper[5, 1], lower[5, 1], float(lower[5, 2])
    centre = pose.place(np.array([middle, (top + rim) / 2, upper[5, 2] + 0.1]))
    width, height = max(4.0, half * pose.scale), max(3.0, (rim - top) * pose.scale)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    from_centre = np.clip(np.hypot((x - centre[0]) / width, (y - centre[1]) / height * 0.9), 0, 1)[..., None]
    picture = (np.array(DEEP) * (1 - from_centre) + np.array(WALL) * from_centre) * light

    def band(edge: Array, root: Array, z: Array, reach: float, blur: float) -> Array:
        across = np.linspace(-reach, reach, len(edge))
        front = np.column_stack([middle + across * half, edge, z])
        back = np.column_stack([middle + across[::-1] * half, root[::-1], z[::-1]])
        return cv2.GaussianBlur(polygon(size, pose.place(np.concatenate([front, back]))[:, :2]), (0, 0), blur)[
            ..., None
        ]

    bend = np.linspace(-1, 1, 21) ** 2
    tongue = band(
        rim - 0.1 * np.cos(1.43 * np.linspace(-1, 1, 21)), np.full(21, rim + 0.1), np.full(21, depth + 0.25), 0.75, 1.3
    )
    picture = picture + tongue * (np.array(TONGUE) * light - picture)
    shade = np.clip(1 - 0.55 * np.abs((x - centre[0]) / width) ** 2.2, 0.2, 1)[..., None]
    white = np.minimum(np.array(TEETH) * light, 245) * shade
    below = band(rim - 0.035 - 0.02 * bend, np.full(21, rim + 0.1), depth + 0.12 + 0.04 * bend, 0.6, 0.6)
    picture = picture + 0.8 * below * (0.72 * white - picture)
    above = band(top + 0.085 - 0.03 * bend, np.full(21, top - 0.25), float(upper[5, 2]) + 0.08 + 0.06 * bend, 0.8, 0.6)
    picture = picture + above * (white - picture)

    shadow = np.zeros((size, size), np.uint8)  # of the upper lip
    line = np.round(pose.place(upper)[:, :2] * 16).astype(np.int32)
    cv2.polylines(shadow, [line], False, 255, 2, cv2.LINE_AA, 4)
    dark = cv2.GaussianBlur(shadow, (0, 0), 1.5).astype(np.float32)[..., None] / 255
    return picture * (1 - 0.55 * np.clip(1.4 * dark, 0, 1))


def _light(source: Array, head: Head) -> Array:
    """How bright the face is in red, green and blue, (3,); 1 for skin as it usually is, in bright light."""
    cheeks = head.pixels(source, head.pose.place(head.face[mesh_points().cheeks])).mean(0)
    mean = max(float(cheeks.mean()), 1.0)
    tint = np.clip(cheeks / mean / SKIN, 1 / TINTED, TINTED)
    return np.clip(mean / BRIGHT_SKIN, 0.35, 1.25) * tint
