"""Eyes as drawings and statues have them: large ones, and ones without iris and pupil."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE
from joyvasa.sample.training.head import LID_RIM, Head
from joyvasa.sample.training.mesh_points import mesh_points
from joyvasa.sample.training.mouth import polygon

REACH = 0.46  # around the middle of an eye, distances between the eyes: brows are at its edge, the other eye beyond
MOST_GROWN = 2.0  # beyond 2.25 the skin around an eye would fold
NODES = 64  # of the table from far to near
CARVED = 0.6  # at most, of an eyeball's own light and shade that is left where it is blank
SHADED = 0.25  # how much darker a blank eyeball is below the upper lid
Array = np.ndarray


class LargeEyes:
    """Eyes of a portrait grow, and the skin around them gives way.

    A place at the distance `r` from the middle of an eye, in reaches, goes to `r (1 + (growth - 1) (1 - r^2)^2)`.

    Args:
        mesh: (468, 3), pixels of a picture.
        growth: of the eyes, 1 to `MOST_GROWN`.
    """

    def __init__(self, mesh: Array, growth: float) -> None:
        self._growth = growth
        middles = [mesh[corners, :2].mean(0) for corners in (RIGHT_EYE, LEFT_EYE)]
        self._middles, self._reach = middles, REACH * float(np.linalg.norm(middles[1] - middles[0]))
        near = np.linspace(0, 1, NODES)
        self._near, self._far = near, self._grown(near)

    def points(self, mesh: Array) -> Array:
        """Where points of the portrait are then, (n, 3)."""
        moved = mesh.copy()
        for middle in self._middles:
            away = mesh[:, :2] - middle
            distance = np.linalg.norm(away, axis=1) / self._reach
            grown = self._grown(distance.clip(1e-6, 1)) / distance.clip(1e-6, 1)
            moved[:, :2] += away * (grown - 1)[:, None]
        return moved

    def picture(self, picture: Array) -> Array:
        """The portrait then; like `picture`, (size, size, 3)."""
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
        from_x, from_y = x.copy(), y.copy()
        for middle in self._middles:
            away = np.hypot(x - middle[0], y - middle[1]) / self._reach
            far = away.clip(1e-6, 1)
            shrunk = (np.interp(far, self._far, self._near) / far - 1).astype(np.float32)
            from_x += (x - np.float32(middle[0])) * shrunk
            from_y += (y - np.float32(middle[1])) * shrunk
        return cv2.remap(picture, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _grown(self, distance: Array) -> Array:
        return distance * (1 + (self._growth - 1) * (1 - distance**2) ** 2)


def with_blank_eyes(picture: Array, head: Head, *, carved: float) -> Array:
    """A portrait with eyeballs of the colour of its skin, as statues have them.

    Args:
        picture: uint8 RGB (size, size, 3).
        head: of the portrait.
        carved: how much of iris and pupil is told by light and shade, 0 to 1.

    Returns:
        uint8, (size, size, 3).
    """
    result = picture.astype(np.float32)
    for upper, lower in mesh_points().eyes:
        # The head's lids stand off the eyeball.
        above, below = head.face[upper].copy(), head.face[lower].copy()
        above[1:-1, 1] += LID_RIM
        below[1:-1, 1] -= LID_RIM
        rim = head.pose.place(np.concatenate([above, below[::-1][1:-1]]))[:, :2]
        mask = cv2.GaussianBlur(polygon(head.size, rim), (0, 0), 0.8)[..., None]
        skin = head.pixels(picture, head.pose.place(head.face[mesh_points().cheeks])).mean(0)
        own = cv2.GaussianBlur(result, (0, 0), 2)
        inside = mask[..., 0] > 0.5
        mean = own[inside].mean() if inside.any() else 0.0
        top, bottom = rim[:, 1].min(), rim[:, 1].max()
        height = ((np.arange(head.size) - top) / max(bottom - top, 1)).clip(0, 1)[:, None, None]
        blank = skin * (1 - SHADED * (1 - height) ** 2) + carved * CARVED * (own.mean(-1, keepdims=True) - mean)
        result += mask * (blank - result)
    return result.clip(0, 255).round().astype(np.uint8)


def faded(picture: Array) -> Array:
    """A picture without colour: the luminance of ITU-R BT.601 three times; float32 (size, size, 3)."""
    light = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(light[..., None], 3, axis=-1)
