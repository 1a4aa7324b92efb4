"""A head that turns and changes its expression, built from the face mesh of a portrait.

Frame of the head: origin between the eyes; for a frontal head x points to the right of the picture, y down, z away from
the camera. The unit is the distance between the eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from joyvasa.sample.networks import motion_extractor
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.mesh_points import load_mesh_points

PIVOT = np.array([0.0, 0.55, 1.15])  # center of rotation: the top of the neck, behind the face
LID_OPENING = 0.22  # between the keypoints of open eyes: mean of photographs of people
LID_MEETING = 0.82  # share of the opening that the upper lid covers when the eye shuts
LID_SLIT = 0.012  # between shut lids, so that triangles of the mesh keep an area
LID_RIM = 0.035  # offset of the lids from the eyeball, so that a blink covers all of it
FLAT_FROM, FLATTENING = 0.1, 0.3  # depth behind which the mesh is compressed, so that turns do not fold the cheeks
BROW = 0.05  # half the height of an eyebrow
RINGS = (1.15, 1.35, 1.65, 2.1, 2.7)  # rings of vertices around the face, in sizes of its outline
HAIR_FOLLOWS = (1.0, 0.96, 0.75, 0.3, 0.0)  # share of the outline's motion that each ring follows
NECK_FOLLOWS = (0.72, 0.42, 0.18, 0.04, 0.0)
ALIGNMENT_ROUNDS = 5  # of the mean head
BORDER_POINTS = 9  # on each side of the fixed border around the picture


@dataclass(frozen=True)
class Expression:
    """Facial expression; lengths in eye distances."""

    jaw: float = 0.0  # opening of the lips; 0 closes them even if the portrait's mouth is open
    wide: float = 0.0  # outward motion of each corner of the mouth
    smile: float = 0.0  # upward motion of the corners
    upper: float = 0.0  # raise of the upper lip
    lower: float = 0.0  # drop of the lower lip
    pucker: float = 0.0
    blink: tuple[float, float] = (0.0, 0.0)  # right and left eye; 1 is shut; larger values move only the keypoints
    brow: tuple[float, float] = (0.0, 0.0)  # raise of the right and left brow


@dataclass(frozen=True)
class Pose:
    """Transform from the frame of a head to pixels of the picture: `scale * points @ rotation + shift`."""

    scale: float
    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,)

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Return points of the head in pixels of the picture, (..., 3)."""
        return self.scale * points @ self.rotation + self.shift


def align_mesh(model: np.ndarray, points: np.ndarray) -> Pose:
    """Return the pose that maps a model to points by least squares; both (n, 3)."""
    tensors = (torch.from_numpy(array.astype(np.float64)) for array in (model, points[None]))
    scale, rotation, shift = motion_extractor.fit_similarity(*tensors)
    return Pose(float(scale), rotation[0].numpy(), shift[0].numpy())


def mean_head(meshes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of many meshes in the frame of the head, (468, 3)."""
    points, bony = load_mesh_points(), load_mesh_points().bony
    mean = meshes[0].astype(np.float64)
    for _ in range(ALIGNMENT_ROUNDS):
        aligned = [align_mesh(mesh[bony], mean[bony]).to_image(mesh) for mesh in meshes]
        mean = np.mean(aligned, 0)

        # Put the mean into the frame of the head.
        right, left = (np.concatenate(eye)[[0, 8]] for eye in points.eyes)
        right, left = mean[right].mean(0), mean[left].mean(0)
        x_axis = (left - right) / np.linalg.norm(left - right)
        y_axis = mean[152] - mean[10]  # chin and forehead
        y_axis = y_axis - x_axis * (x_axis @ y_axis)
        y_axis /= np.linalg.norm(y_axis)
        mean = mean - (right + left) / 2
        mean = mean @ np.column_stack([x_axis, y_axis, np.cross(x_axis, y_axis)]) / np.linalg.norm(left - right)
    return mean


class Head:
    """Head of one portrait.

    Args:
        mesh: face mesh (468, 3), pixels of a square picture.
        mean: mean head, see `mean_head`.
        size: side of the picture in pixels.
    """

    def __init__(self, mesh: np.ndarray, mean: np.ndarray, size: int) -> None:
        points = load_mesh_points()
        self.size = size
        self.pose = align_mesh(mean[points.bony], mesh[points.bony].astype(np.float64))
        self.face = (mesh - self.pose.shift) @ self.pose.rotation.T / self.pose.scale
        depth = self.face[:, 2]
        self.face[:, 2] = np.where(depth < FLAT_FROM, depth, FLAT_FROM + (depth - FLAT_FROM) * FLATTENING)
        self.gap = float((self.face[points.inner_lower_lip] - self.face[points.inner_upper_lip])[1])
        self._lower_lids = [self.face[lower[4]].copy() for _, lower in points.eyes]
        for upper, lower in points.eyes:
            self.face[upper[1:-1], 1] -= LID_RIM
            self.face[lower[1:-1], 1] += LID_RIM

        # Vertices of the portrait: the face, rings around it, and a fixed border.
        self._flat = self.pose.to_image(self.face)
        self._rings = self._place_rings(self._flat[points.oval, :2])
        neck_share = _smooth_step(0.75, 1.35, self.face[points.oval, 1])  # where the outline borders on the neck
        self._follows = [
            hair * (1 - neck_share) + neck * neck_share for hair, neck in zip(HAIR_FOLLOWS, NECK_FOLLOWS, strict=True)
        ]
        edge = np.linspace(-0.25, 1.25, BORDER_POINTS) * size
        sides = [(x, y) for x in edge for y in edge if x in (edge[0], edge[-1]) or y in (edge[0], edge[-1])]
        self._border = np.array(sides)
        self.rest = np.concatenate([self._flat[:, :2], *self._rings, self._border])

    def turn(self, rotation: np.ndarray, *, growth: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Pose:
        """Return the pose of the portrait, turned about the neck.

        Args:
            rotation: rotation matrix (3, 3), applied after that of the portrait.
            growth: magnification of the head.
            shift: shift of the neck in pixels.
        """
        pose, turned = self.pose, self.pose.rotation @ rotation
        neck = pose.to_image(PIVOT) + np.array([*shift, 0.0])
        return Pose(pose.scale * growth, turned, neck - pose.scale * growth * PIVOT @ turned)

    def sample_pixels(self, portrait: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the pixels of a portrait (size, size, 3) nearest to points (..., 2 or more), shape (..., 3)."""
        pixels = points[..., :2].round().astype(int).clip(0, self.size - 1)
        return portrait[pixels[..., 1], pixels[..., 0]]

    def place_vertices(self, face: np.ndarray, pose: Pose) -> np.ndarray:
        """Return the vertices of the driven picture, (n, 2): the face, the rings that follow it, the fixed border."""
        moved, oval = pose.to_image(face)[:, :2], load_mesh_points().oval
        motion = moved[oval] - self._flat[oval, :2]
        rings = [ring + follows[:, None] * motion for ring, follows in zip(self._rings, self._follows, strict=True)]
        return np.concatenate([moved, *rings, self._border])

    def keypoints(self, face: np.ndarray, blink: tuple[float, float], pose: Pose) -> np.ndarray:
        """Return the keypoints in pixels, (21, 3), z relative to the neck.

        Keypoints of lids have the same opening for all open eyes and meet when the eyes are shut, so that one motion
        shuts the eyes of every person.
        """
        points = load_mesh_points()
        keypoints = face[points.keypoints].copy()
        for shut, below, (above, under) in zip(blink, self._lower_lids, (RIGHT_LIDS, LEFT_LIDS), strict=True):
            keypoints[under] = below
            keypoints[above] = keypoints[under] - [0, LID_OPENING * (1 - shut), 0]
        placed = pose.to_image(keypoints)
        placed[:, 2] -= pose.to_image(PIVOT)[2]
        return placed

    def apply_expression(self, expression: Expression) -> np.ndarray:
        """Return the face with an expression, (468, 3) in the frame of the head."""
        points, e, face = load_mesh_points(), expression, self.face.copy()
        corners = self.face[points.lips_upper[3, [0, 10]]]
        middle, half = corners.mean(0), float(corners[1, 0] - corners[0, 0]) / 2
        x, y = (self.face[:, :2] - middle[:2]).T
        along = np.clip(x / half, -1, 1)
        arch = np.maximum(0, 1 - along**2) ** 0.7
        lower, upper = (np.isin(np.arange(len(face)), lips) for lips in (points.lips_lower, points.lips_upper))
        both = lower & upper

        # Jaw.
        jaw = _smooth_step(-0.15, 0.35, y) * (1 - _smooth_step(0.75, 1.2, np.abs(x)))
        jaw[lower], jaw[upper], jaw[both] = 0.35 + 0.65 * arch[lower], 0.0, 0.35
        opened = jaw * (e.jaw - max(0.0, self.gap))
        face[:, 1] += opened
        face[:, 2] += 0.25 * opened  # the jaw swings back

        # Corners of the mouth.
        around = np.exp(-((np.maximum(0, np.hypot(x, y) - 0.6 * half) / 0.35) ** 2))
        face[:, 0] += around * along * (e.wide - 0.5 * e.pucker)
        face[:, 2] -= around * 0.35 * e.pucker * (1 - 0.5 * np.abs(along))
        at_corner = np.exp(-(((np.abs(x) - half) / 0.3) ** 2 + (y / 0.3) ** 2))
        face[:, 1] -= at_corner * 0.6 * e.smile
        face[:, 0] += at_corner * np.sign(x) * 0.5 * e.smile

        # Lips.
        above = np.where(upper, arch, np.exp(-((x / half) ** 2 + ((y + 0.12) / 0.2) ** 2)) * (y < 0))
        under = np.where(lower, arch, np.exp(-((x / half) ** 2 + ((y - 0.15) / 0.25) ** 2)) * (y > 0))
        above[lower], under[upper] = 0, 0
        face[:, 1] += under * e.lower - above * e.upper
        face[:, 1] += e.pucker * (np.where(lower, 0.15 * arch, 0) - np.where(upper, 0.1 * arch, 0))

        # Eyes and brows.
        for shut, raised, brow, lids in zip(
            e.blink, e.brow, (points.right_brow, points.left_brow), points.eyes, strict=True
        ):
            self._shut_eye(face, min(shut, 1.0), *lids, float(self.face[brow, 1]))
            distance = (self.face[:, :2] - self.face[brow, :2]) / [0.45, 0.22]
            face[:, 1] -= np.exp(-(distance**2).sum(1)) * raised
        return face

    def _shut_eye(self, face: np.ndarray, shut: float, upper: np.ndarray, lower: np.ndarray, brow: float) -> None:
        """Move the lids of one eye and the skin up to the brow, in place; the brow stays."""
        lid, rim = self.face[upper], self.face[lower]
        meeting = lid + (rim - lid) * LID_MEETING
        motion = (meeting - lid) * shut * [1, 1, 0.3]
        center, top = (lid + rim).mean(0) / 2, lid[:, 1].min()
        rise = _smooth_step(min(brow + BROW, top - BROW), top, self.face[:, 1])
        skin = np.exp(-(((self.face[:, 0] - center[0]) / 0.32) ** 2)) * rise
        skin[(self.face[:, 1] >= center[1]) | np.isin(np.arange(len(face)), [*upper, *lower])] = 0

        face[:, 1] += skin * 0.55 * motion[4, 1]
        face[upper[1:-1]] += motion[1:-1]
        face[lower[1:-1]] += ((meeting - rim) * shut)[1:-1]
        face[lower[1:-1], 1] += LID_SLIT * shut

    @staticmethod
    def _place_rings(outline: np.ndarray) -> list[np.ndarray]:
        center = outline.mean(0)
        return [center + (outline - center) * size for size in RINGS]


def _smooth_step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Return 0 up to `low`, 1 from `high`, with a smooth transition."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
