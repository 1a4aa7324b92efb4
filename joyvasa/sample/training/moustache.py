"""Augmentation of portraits: a moustache that covers the upper lip or a part of it."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.sample.training.head import Head
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.mouth import fill_polygon

NOSE_BASE = 2  # point of the face mesh
COLORS = ((28, 22, 20), (62, 42, 30), (120, 78, 44), (168, 136, 92), (150, 146, 142))  # RGB, black to blond and gray
NODES = 25  # points along the upper and the lower edge
HAIRS, HAIR_LENGTH = 220, 0.16  # number of hairs, and their length in eye distances
Array = np.ndarray


def draw_moustache(picture: Array, head: Head, random: np.random.Generator) -> Array:
    """Draw a moustache with random size, shape and color, which moves with the upper lip as the picture is driven.

    Args:
        picture: portrait, uint8 RGB (size, size, 3).
        head: head of the portrait.
        random: source of all random choices.

    Returns:
        A new picture, uint8.
    """
    rings, face = load_mesh_points().lips_upper, head.face
    covered = min(1.0, random.uniform(0.2, 1.6))  # share of the upper lip that is hidden: often all of it
    rim = face[rings[3]] + covered * (face[rings[0]] - face[rings[3]])
    middle, half = (rim[0] + rim[10]) / 2, float(rim[10, 0] - rim[0, 0]) / 2

    # Lower and upper edge in the frame of the head, longer than the lip and hanging down beside it.
    width, droop = random.uniform(0.75, 1.3), random.uniform(0, 0.3)
    height = (rim[5, 1] - face[NOSE_BASE, 1]) * random.uniform(0.55, 1.0)
    across = np.linspace(-width, width, NODES)
    along = np.linspace(-1, 1, 11)
    lower = np.stack([np.interp(across, along, column) for column in rim.T], axis=1)
    lower[:, 0] = middle[0] + half * across
    lower[:, 1] += droop * np.maximum(0, np.abs(across) - 0.6) ** 1.5
    taper = 1 - np.abs(across / width) ** random.uniform(1.5, 5)
    upper = lower - np.outer(height * taper, [0, 1, 0])
    lower, upper = (head.pose.to_image(edge)[:, :2] for edge in (lower, upper))
    mask = fill_polygon(head.size, np.concatenate([upper, lower[::-1]]))

    # Hairs from the middle outwards and down.
    color = np.array(COLORS[int(random.integers(len(COLORS)))]) * random.uniform(0.6, 1.2)
    contrast = random.uniform(0.05, 0.35)
    hair, drawn = np.full_like(picture, 0, np.float32) + color.astype(np.float32), mask.copy()
    for _ in range(HAIRS):
        node, share = int(random.integers(NODES)), random.random()
        start = upper[node] + share * (lower[node] - upper[node])
        slope = np.array([np.sign(across[node]) * random.uniform(0.2, 1), random.uniform(0, 0.6)])
        end = start + slope * random.uniform(0.3, 1) * HAIR_LENGTH * head.pose.scale
        points = [np.round(np.stack([start, end]) * 16).astype(np.int32)]
        tone = color * np.exp(random.normal(0, contrast))
        cv2.polylines(hair, points, False, tone.tolist(), 1, cv2.LINE_AA, 4)
        if share < 0.9:  # hairs at the lower edge end there: below it they would move with the lower lip
            cv2.polylines(drawn, points, False, 0.7, 1, cv2.LINE_AA, 4)
    below = np.concatenate([lower, [[head.size, lower[-1, 1]], [head.size] * 2, [0, head.size], [0, lower[0, 1]]]])
    drawn *= 1 - fill_polygon(head.size, below)
    alpha = random.uniform(0.75, 1) * cv2.GaussianBlur(drawn, (0, 0), random.uniform(0.4, 1.5))[..., None]
    return (picture + alpha * (hair - picture)).clip(0, 255).round().astype(np.uint8)
