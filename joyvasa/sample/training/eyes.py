"""Augmentations of eyes as in drawings and statues: large eyes, and blank eyes without iris and pupil."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE
from joyvasa.sample.training.head import LID_RIM, Head
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.mouth import fill_polygon

REACH = 0.46  # radius of the warp around an eye, in eye distances: reaches the brow but not the other eye
MAX_GROWTH = 2.0  # above 2.25 the skin around an eye would fold
NODES = 64  # number of nodes of the table that inverts the warp
CARVED = 0.6  # maximum share of an eyeball's own shading that remains when it is blank
SHADED = 0.25  # how much darker a blank eyeball is below the upper lid
Array = np.ndarray


class EnlargedEyes:
    """Warp that enlarges the eyes of a portrait.

    A point at distance `r` from the center of an eye, in units of `REACH`, moves to
    `r (1 + (growth - 1) (1 - r^2)^2)`.

    Args:
        mesh: face mesh (468, 3), pixels of the picture.
        growth: magnification of the eyes, 1 to `MAX_GROWTH`.
    """

    def __init__(self, mesh: Array, growth: float) -> None:
        self._growth = growth
        centers = [mesh[corners, :2].mean(0) for corners in (RIGHT_EYE, LEFT_EYE)]
        self._centers, self._reach = centers, REACH * float(np.linalg.norm(centers[1] - centers[0]))
        self._before = np.linspace(0, 1, NODES)
        self._after = self._warp_distance(self._before)

    def move_points(self, mesh: Array) -> Array:
        """Return moved points of the portrait, (n, 3)."""
        moved = mesh.copy()
        for center in self._centers:
            offset = mesh[:, :2] - center
            distance = (np.linalg.norm(offset, axis=1) / self._reach).clip(1e-6, 1)
            moved[:, :2] += offset * (self._warp_distance(distance) / distance - 1)[:, None]
        return moved

    def warp_picture(self, picture: Array) -> Array:
        """Return the warped portrait; shape and type as `picture`, (size, size, 3)."""
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
        from_x, from_y = x.copy(), y.copy()
        for center in self._centers:
            distance = (np.hypot(x - center[0], y - center[1]) / self._reach).clip(1e-6, 1)
            shrink = (np.interp(distance, self._after, self._before) / distance - 1).astype(np.float32)
            from_x += (x - np.float32(center[0])) * shrink
            from_y += (y - np.float32(center[1])) * shrink
        return cv2.remap(picture, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _warp_distance(self, distance: Array) -> Array:
        return distance * (1 + (self._growth - 1) * (1 - distance**2) ** 2)


def blank_eyes(picture: Array, head: Head, *, carved: float) -> Array:
    """Return a portrait, uint8 RGB (size, size, 3), with eyeballs in the color of its skin, as in statues.

    `carved` is how much of iris and pupil remains visible as shading, 0 to 1.
    """
    result = picture.astype(np.float32)
    for upper, lower in load_mesh_points().eyes:
        # The lids of the head stand off the eyeball.
        above, below = head.face[upper].copy(), head.face[lower].copy()
        above[1:-1, 1] += LID_RIM
        below[1:-1, 1] -= LID_RIM
        rim = head.pose.to_image(np.concatenate([above, below[::-1][1:-1]]))[:, :2]
        mask = cv2.GaussianBlur(fill_polygon(head.size, rim), (0, 0), 0.8)[..., None]
        skin = head.sample_pixels(picture, head.pose.to_image(head.face[load_mesh_points().cheeks])).mean(0)

        smooth = cv2.GaussianBlur(result, (0, 0), 2)
        inside = mask[..., 0] > 0.5
        mean = smooth[inside].mean() if inside.any() else 0.0
        top, bottom = rim[:, 1].min(), rim[:, 1].max()
        height = ((np.arange(head.size) - top) / max(bottom - top, 1)).clip(0, 1)[:, None, None]
        shading = carved * CARVED * (smooth.mean(-1, keepdims=True) - mean)
        blank = skin * (1 - SHADED * (1 - height) ** 2) + shading
        result += mask * (blank - result)
    return result.clip(0, 255).round().astype(np.uint8)


def to_grayscale(picture: Array) -> Array:
    """Return the luminance of a picture (ITU-R BT.601) in all three channels, float32 (size, size, 3)."""
    light = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(light[..., None], 3, axis=-1)
