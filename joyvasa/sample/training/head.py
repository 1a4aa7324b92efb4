"""A portrait's face mesh as a head that turns and makes faces.

The head's own frame: origin between the eyes, x to the picture's right, y down, z away from the camera when it looks
straight ahead; unit: the distance between the eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from joyvasa.sample.networks import motion_extractor
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.mesh_points import mesh_points

PIVOT = np.array([0.0, 0.55, 1.15])  # what a head turns about: the top of the neck, behind the face
LID_OPENING = 0.22  # of keypoints of open eyes: the mean of photographs of people
LID_MEETING = 0.82  # way of the upper lid down to where it meets the lower one
LID_SLIT = 0.012  # between shut lids: the triangles of the mesh must not lose their area
LID_RIM = 0.035  # by which the mesh's lids are moved off the eyeball, of which a blink must leave nothing
FLAT_FROM, FLATTENED = 0.1, 0.3  # behind this depth the mesh is squeezed, so that no turn folds the cheeks
BROW = 0.05  # half the height of an eyebrow
RINGS = (1.15, 1.35, 1.65, 2.1, 2.7)  # around the face, in sizes of its outline
HAIR_FOLLOWS = (1.0, 0.96, 0.75, 0.3, 0.0)  # how much of the outline's motion each ring makes
NECK_FOLLOWS = (0.72, 0.42, 0.18, 0.04, 0.0)
BORDER_POINTS = 9  # on each side of the frame that stands still around the picture


@dataclass(frozen=True)
class Expression:
    """What a face does; lengths in distances between the eyes."""

    jaw: float = 0.0  # opening of the lips; 0: closed, whatever the portrait does
    wide: float = 0.0  # of each corner of the mouth, outwards
    smile: float = 0.0  # of the corners, upwards
    upper: float = 0.0  # upper lip raised
    lower: float = 0.0  # lower lip dropped
    pucker: float = 0.0
    blink: tuple[float, float] = (0.0, 0.0)  # right and left eye; 1: shut; beyond, keypoints alone go on
    brow: tuple[float, float] = (0.0, 0.0)  # raised


@dataclass(frozen=True)
class Pose:
    """Where a head's own frame lies in the picture: `scale * points @ rotation + shift`, pixels."""

    scale: float
    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points of the head's frame in the picture, (..., 3)."""
        return self.scale * points @ self.rotation + self.shift


def align(model: np.ndarray, points: np.ndarray) -> Pose:
    """The pose that takes a model to points, least squares; both (n, 3)."""
    wanted = (torch.from_numpy(array.astype(np.float64)) for array in (model, points[None]))
    scale, rotation, shift = motion_extractor.fit_similarity(*wanted)
    return Pose(float(scale), rotation[0].numpy(), shift[0].numpy())


def mean_head(meshes: Sequence[np.ndarray], rounds: int = 5) -> np.ndarray:
    """Mean of many meshes in the head's frame, (468, 3)."""
    points, bony = mesh_points(), mesh_points().bony
    mean = meshes[0].astype(np.float64)
    for _ in range(rounds):
        aligned = [align(mesh[bony], mean[bony]).place(mesh) for mesh in meshes]
        mean = np.mean(aligned, 0)
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
    """One portrait's head.

    Args:
        mesh: (468, 3), pixels of a square picture.
        mean: of `mean_head`.
        size: side of the picture, pixels.
    """

    def __init__(self, mesh: np.ndarray, mean: np.ndarray, size: int) -> None:
        points = mesh_points()
        self.size = size
        self.pose = align(mean[points.bony], mesh[points.bony].astype(np.float64))
        self.face = (mesh - self.pose.shift) @ self.pose.rotation.T / self.pose.scale
        depth = self.face[:, 2]
        self.face[:, 2] = np.where(depth < FLAT_FROM, depth, FLAT_FROM + (depth - FLAT_FROM) * FLATTENED)
        self.gap = float((self.face[points.inner_lower_lip] - self.face[points.inner_upper_lip])[1])
        self.eyes_open = np.array([(self.face[lower[4]] - self.face[upper[4]])[1] for upper, lower in points.eyes])
        self._lower_lids = [self.face[lower[4]].copy() for _, lower in points.eyes]
        for upper, lower in points.eyes:
            self.face[upper[1:-1], 1] -= LID_RIM
            self.face[lower[1:-1], 1] += LID_RIM
        self._flat = self.pose.place(self.face)
        self._rings = self._around(self._flat[points.oval, :2])
        below = _step(0.75, 1.35, self.face[points.oval, 1])  # the outline there borders on the neck
        self._follows = [
            hair * (1 - below) + neck * below for hair, neck in zip(HAIR_FOLLOWS, NECK_FOLLOWS, strict=True)
        ]
        edge = np.linspace(-0.25, 1.25, BORDER_POINTS) * size
        sides = [(x, y) for x in edge for y in edge if x in (edge[0], edge[-1]) or y in (edge[0], edge[-1])]
        self._border = np.array(sides)
        self.rest = np.concatenate([self._flat[:, :2], *self._rings, self._border])  # vertices of the portrait

    def turned(self, rotation: np.ndarray, *, growth: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Pose:
        """The portrait's pose turned about the neck.

        Args:
            rotation: (3, 3), before that of the portrait.
            growth: of the head.
            shift: of the neck, pixels.
        """
        pose, turned = self.pose, self.pose.rotation @ rotation
        neck = pose.place(PIVOT) + np.array([*shift, 0.0])
        return Pose(pose.scale * growth, turned, neck - pose.scale * growth * PIVOT @ turned)

    def pixels(self, portrait: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Pixels of the portrait, (size, size, 3), that are nearest to places in it, (..., 2 or more); (..., 3)."""
        spots = places[..., :2].round().astype(int).clip(0, self.size - 1)
        return portrait[spots[..., 1], spots[..., 0]]

    def vertices(self, face: np.ndarray, pose: Pose) -> np.ndarray:
        """Vertices of the driven picture: the face, what follows it around it, a border that stands still; (n, 2)."""
        moved, oval = pose.place(face)[:, :2], mesh_points().oval
        motion = moved[oval] - self._flat[oval, :2]
        rings = [ring + follows[:, None] * motion for ring, follows in zip(self._rings, self._follows, strict=True)]
        return np.concatenate([moved, *rings, self._border])

    def keypoints(self, face: np.ndarray, blink: tuple[float, float], pose: Pose) -> np.ndarray:
        """Keypoints in pixels, (21, 3); z from the neck.

        Lids stand at the same opening whatever the person's eyes are, and meet when the eyes are shut: so one motion
        shuts the eyes of everybody.
        """
        points = mesh_points()
        own = face[points.keypoints].copy()
        for shut, below, (above, under) in zip(blink, self._lower_lids, (RIGHT_LIDS, LEFT_LIDS), strict=True):
            own[under] = below
            own[above] = own[under] - [0, LID_OPENING * (1 - shut), 0]
        placed = pose.place(own)
        placed[:, 2] -= pose.place(PIVOT)[2]
        return placed

    def apply_expression(self, expression: Expression) -> np.ndarray:
        """The face with an expression, (468, 3) in the head's frame."""
        points, e, face = mesh_points(), expression, self.face.copy()
        corners = self.face[points.lips_upper[3, [0, 10]]]
        middle, half = corners.mean(0), float(corners[1, 0] - corners[0, 0]) / 2
        x, y = (self.face[:, :2] - middle[:2]).T
        along = np.clip(x / half, -1, 1)
        arch = np.maximum(0, 1 - along**2) ** 0.7
        lower, upper = (np.isin(np.arange(len(face)), lips) for lips in (points.lips_lower, points.lips_upper))
        both = lower & upper

        jaw = _step(-0.15, 0.35, y) * (1 - _step(0.75, 1.2, np.abs(x)))
        jaw[lower], jaw[upper], jaw[both] = 0.35 + 0.65 * arch[lower], 0.0, 0.35
        opened = jaw * (e.jaw - max(0.0, self.gap))
        face[:, 1] += opened
        face[:, 2] += 0.25 * opened  # the jaw swings back

        around = np.exp(-((np.maximum(0, np.hypot(x, y) - 0.6 * half) / 0.35) ** 2))
        face[:, 0] += around * along * (e.wide - 0.5 * e.pucker)
        face[:, 2] -= around * 0.35 * e.pucker * (1 - 0.5 * np.abs(along))
        at_corner = np.exp(-(((np.abs(x) - half) / 0.3) ** 2 + (y / 0.3) ** 2))
        face[:, 1] -= at_corner * 0.6 * e.smile
        face[:, 0] += at_corner * np.sign(x) * 0.5 * e.smile

        above = np.where(upper, arch, np.exp(-((x / half) ** 2 + ((y + 0.12) / 0.2) ** 2)) * (y < 0))
        under = np.where(lower, arch, np.exp(-((x / half) ** 2 + ((y - 0.15) / 0.25) ** 2)) * (y > 0))
        above[lower], under[upper] = 0, 0
        face[:, 1] += under * e.lower - above * e.upper
        face[:, 1] += e.pucker * (np.where(lower, 0.15 * arch, 0) - np.where(upper, 0.1 * arch, 0))

        for shut, raised, brow, lids in zip(
            e.blink, e.brow, (points.right_brow, points.left_brow), points.eyes, strict=True
        ):
            self._shut(face, min(shut, 1.0), *lids, float(self.face[brow, 1]))
            distance = (self.face[:, :2] - self.face[brow, :2]) / [0.45, 0.22]
            face[:, 1] -= np.exp(-(distance**2).sum(1)) * raised
        return face

    def _shut(self, face: np.ndarray, shut: float, upper: np.ndarray, lower: np.ndarray, brow: float) -> None:
        """Moves the lids of one eye, and the skin between them and the brow, which stays."""
        lid, rim = self.face[upper], self.face[lower]
        meeting = lid + (rim - lid) * LID_MEETING
        way = (meeting - lid) * shut * [1, 1, 0.3]
        centre, top = (lid + rim).mean(0) / 2, lid[:, 1].min()
        skin = np.exp(-(((self.face[:, 0] - centre[0]) / 0.32) ** 2)) * _step(
            min(brow + BROW, top - BROW), top, self.face[:, 1]
        )
        skin[(self.face[:, 1] >= centre[1]) | np.isin(np.arange(len(face)), [*upper, *lower])] = 0
        face[:, 1] += skin * 0.55 * way[4, 1]
        face[upper[1:-1]] += way[1:-1]
        face[lower[1:-1]] += ((meeting - rim) * shut)[1:-1]
        face[lower[1:-1], 1] += LID_SLIT * shut

    @staticmethod
    def _around(outline: np.ndarray) -> list[np.ndarray]:
        centre = outline.mean(0)
        return [centre + (outline - centre) * size for size in RINGS]


def _step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
