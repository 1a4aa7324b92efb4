"""Pictures of a head that turns and speaks, with where each pixel came from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

from joyvasa.training.sample.head import Expression, Head, Pose
from joyvasa.training.sample.mesh_points import mesh_points
from joyvasa.training.sample.mouth import paint_mouth, polygon

FLOW_STEP = 2  # pixels; the mesh is far coarser
EYE_REACH = 0.4  # of an eyeball, in distances between the eyes


@dataclass(frozen=True)
class Scene:
    """A driven picture.

    Args:
        picture: float32 RGB (size, size, 3), 0 to 255.
        origin: float32 (size, size, 2), where each pixel was in the portrait, pixels.
        painted: float32 (size, size), 1 where it was not there.
        keypoints: (21, 3), pixels.
    """

    picture: np.ndarray
    origin: np.ndarray
    painted: np.ndarray
    keypoints: np.ndarray


def render(portrait: np.ndarray, head: Head, expression: Expression, pose: Pose) -> Scene:
    """Turns a portrait to a pose and an expression; some 30 ms."""
    face = head.making(expression)
    origin = _origin(head.rest, head.vertices(face, pose), head.size)
    _keep_eyeballs(origin, head, face, pose)
    picture = cv2.remap(
        portrait, origin[..., 0], origin[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    picture, painted = paint_mouth(picture, portrait, head, face, pose)
    return Scene(picture.clip(0, 255), origin, painted, head.keypoints(face, expression.blink, pose))


def _origin(rest: np.ndarray, moved: np.ndarray, size: int) -> np.ndarray:
    """Interpolates linearly between vertices, on triangles of the driven picture."""
    mesh = Delaunay(moved)
    axis = (np.arange(size // FLOW_STEP) + 0.5) * FLOW_STEP - 0.5
    x, y = np.meshgrid(axis, axis)
    pixels = np.column_stack([x.ravel(), y.ravel()])
    triangle = mesh.find_simplex(pixels)
    affine = mesh.transform[triangle]
    two = np.einsum("nij,nj->ni", affine[:, :2], pixels - affine[:, 2])
    weights = np.column_stack([two, 1 - two.sum(1)])
    coarse = np.einsum("nk,nkj->nj", weights, rest[mesh.simplices[triangle]]).reshape(*x.shape, 2)
    return cv2.resize(coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)


def _keep_eyeballs(origin: np.ndarray, head: Head, face: np.ndarray, pose: Pose) -> None:
    """Lids close over eyeballs that only turn with the head; in place."""
    for upper, lower in mesh_points().eyes:
        opening = polygon(head.size, pose.place(np.concatenate([face[upper], face[lower][::-1][1:-1]]))[:, :2])
        ring = head.face[np.concatenate([upper, lower])]
        before, after = head.pose.place(ring)[:, :2], pose.place(ring)[:, :2]
        rows, columns = np.nonzero(opening)
        near = np.hypot(columns - after[:, 0].mean(), rows - after[:, 1].mean()) < EYE_REACH * pose.scale
        rows, columns = rows[near], columns[near]
        known = np.column_stack([after, np.ones(len(after))])
        affine = np.linalg.lstsq(known, before, rcond=None)[0]
        there = np.column_stack([columns, rows, np.ones(len(rows))]) @ affine
        seen = opening[rows, columns][:, None]
        origin[rows, columns] += seen * (there - origin[rows, columns])
