"""Pictures of a head that turns and speaks, with where each pixel came from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

from joyvasa.sample.training.head import Expression, Head, Pose
from joyvasa.sample.training.lashes import draw_lashes
from joyvasa.sample.training.mesh_points import mesh_points
from joyvasa.sample.training.mouth import paint_mouth, polygon

FLOW_STEP = 2  # pixels; the mesh is far coarser
FRINGE = 5  # pixels around a person that move along: hair ends there
SPARSE, FULL = 1e-4, 0.5  # weights of what is known near a place: as good as none, and enough to be taken
EYE_REACH = 0.4  # of an eyeball, in distances between the eyes


@dataclass(frozen=True)
class Scene:
    """A driven picture.

    Args:
        picture: float32 RGB (size, size, 3), 0 to 255.
        origin: float32 (size, size, 2), where each pixel was in the portrait, pixels; NaN where a
            turning head lays open what it hid.
        painted: float32 (size, size), 1 where there is mouth that the portrait does not show.
        keypoints: (21, 3), pixels.
    """

    picture: np.ndarray
    origin: np.ndarray
    painted: np.ndarray
    keypoints: np.ndarray


def render(portrait: np.ndarray, head: Head, expression: Expression, pose: Pose, *, person: np.ndarray) -> Scene:
    """Turns a portrait to a pose and an expression before a background that stands still; some 30 ms.

    Args:
        portrait: uint8 RGB (size, size, 3).
        head: of the portrait.
        expression: to show.
        pose: likewise.
        person: uint8 (size, size), 255 where the portrait shows a person.
    """
    face = head.making(expression)
    origin = _origin(head.rest, head.vertices(face, pose), head.size)
    _keep_eyeballs(origin, head, face, pose)
    mask = _foreground(person)
    picture, covered = _moved(portrait.astype(np.float32), origin), _moved(mask, origin)[..., None]
    behind = portrait + mask[..., None] * (_filled(portrait, mask) - portrait)
    picture = behind + covered * (picture - behind)
    picture, painted = paint_mouth(picture, portrait, head, face, pose)
    picture = draw_lashes(picture, portrait, head, face, expression, pose)
    y, x = np.mgrid[: head.size, : head.size].astype(np.float32)
    origin = np.where(covered < 0.5, np.stack([x, y], -1), origin)
    origin[(mask >= 0.5) & (covered[..., 0] < 0.5)] = np.nan
    return Scene(picture.clip(0, 255), origin, painted, head.keypoints(face, expression.blink, pose))


def _moved(picture: np.ndarray, origin: np.ndarray) -> np.ndarray:
    return cv2.remap(picture, origin[..., 0], origin[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _foreground(person: np.ndarray) -> np.ndarray:
    """The person with the fringe of the hair, and a rim of two pixels at most; float32 in 0 to 1."""
    wide = cv2.dilate(person, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (FRINGE, FRINGE))).astype(np.float32) / 255
    return cv2.GaussianBlur((3 * (wide - 0.5) + 0.5).clip(0, 1), (0, 0), 0.7)


def _filled(portrait: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The background goes on behind the person: each place takes what is known nearest to it, smoothly."""
    known = 1 - cv2.dilate(mask, np.ones((3, 3)))
    levels = [(portrait.astype(np.float32) * known[..., None], known)]
    while min(levels[-1][1].shape) > 2:
        colours, weights = levels[-1]
        levels.append((cv2.pyrDown(colours), cv2.pyrDown(weights)))
    colours, weights = levels.pop()
    result = colours / (weights[..., None] + SPARSE)
    for colours, weights in reversed(levels):
        result = cv2.pyrUp(result, dstsize=weights.shape[::-1])
        sure = np.minimum(1, weights / FULL)[..., None]
        result = result + sure * (colours / (weights[..., None] + SPARSE) - result)
    return result


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
