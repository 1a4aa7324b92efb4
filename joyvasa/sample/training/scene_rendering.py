"""Rendering of a portrait with another pose and expression, with the source position of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

from joyvasa.sample.training.head import Expression, Head, Pose
from joyvasa.sample.training.lashes import draw_lashes
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.mouth import fill_polygon, paint_mouth

FLOW_STEP = 2  # pixels between samples of the flow; the mesh is much coarser
FRINGE = 5  # pixels around a person that move with it, for ends of hair
SPARSE, FULL = 1e-4, 0.5  # regularization of small weights, and weight of full confidence
EYE_REACH = 0.4  # radius of an eyeball in eye distances


@dataclass(frozen=True)
class Scene:
    """A driven picture."""

    picture: np.ndarray  # float32 RGB (size, size, 3), 0 to 255
    # position of each pixel in the portrait, float32 (size, size, 2), pixels; NaN where the turning head uncovers what
    # it hid
    origin: np.ndarray
    painted: np.ndarray  # float32 (size, size), 1 in parts of the mouth that the portrait does not show
    keypoints: np.ndarray  # (21, 3), pixels


def render_scene(portrait: np.ndarray, head: Head, expression: Expression, pose: Pose, *, person: np.ndarray) -> Scene:
    """Render a portrait with a pose and an expression in front of a static background; takes about 30 ms.

    Args:
        portrait: uint8 RGB (size, size, 3).
        head: head of the portrait.
        expression: expression of the driven face.
        pose: pose of the driven head.
        person: person mask of the portrait, uint8 (size, size), 0 to 255.
    """
    face = head.apply_expression(expression)
    origin = _interpolate_origin(head.rest, head.place_vertices(face, pose), head.size)
    _keep_eyeballs(origin, head, face, pose)
    mask = _foreground_mask(person)
    picture, covered = _remap(portrait.astype(np.float32), origin), _remap(mask, origin)[..., None]
    background = portrait + mask[..., None] * (_fill_background(portrait, mask) - portrait)
    picture = background + covered * (picture - background)
    picture, painted = paint_mouth(picture, portrait, head, face, pose)
    picture = draw_lashes(picture, portrait, head, face, expression, pose)

    y, x = np.mgrid[: head.size, : head.size].astype(np.float32)
    origin = np.where(covered < 0.5, np.stack([x, y], -1), origin)
    origin[(mask >= 0.5) & (covered[..., 0] < 0.5)] = np.nan
    return Scene(picture.clip(0, 255), origin, painted, head.keypoints(face, expression.blink, pose))


def _remap(picture: np.ndarray, origin: np.ndarray) -> np.ndarray:
    return cv2.remap(picture, origin[..., 0], origin[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _foreground_mask(person: np.ndarray) -> np.ndarray:
    """Return the mask of a person including the fringe of the hair, with an edge of at most two pixels; 0 to 1."""
    wide = cv2.dilate(person, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (FRINGE, FRINGE))).astype(np.float32) / 255
    return cv2.GaussianBlur((3 * (wide - 0.5) + 0.5).clip(0, 1), (0, 0), 0.7)


def _fill_background(portrait: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Extend the background smoothly behind the person, by a pyramid of visible pixels."""
    visible = 1 - cv2.dilate(mask, np.ones((3, 3)))
    levels = [(portrait.astype(np.float32) * visible[..., None], visible)]
    while min(levels[-1][1].shape) > 2:
        colors, weights = levels[-1]
        levels.append((cv2.pyrDown(colors), cv2.pyrDown(weights)))

    colors, weights = levels.pop()
    result = colors / (weights[..., None] + SPARSE)
    for colors, weights in reversed(levels):
        result = cv2.pyrUp(result, dstsize=weights.shape[::-1])
        confidence = np.minimum(1, weights / FULL)[..., None]
        result = result + confidence * (colors / (weights[..., None] + SPARSE) - result)
    return result


def _interpolate_origin(rest: np.ndarray, moved: np.ndarray, size: int) -> np.ndarray:
    """Interpolate source positions linearly on triangles between the vertices of the driven picture."""
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
    """Let eyeballs turn with the head while lids close over them, in place."""
    for upper, lower in load_mesh_points().eyes:
        opening = fill_polygon(head.size, pose.to_image(np.concatenate([face[upper], face[lower][::-1][1:-1]]))[:, :2])
        ring = head.face[np.concatenate([upper, lower])]
        before, after = head.pose.to_image(ring)[:, :2], pose.to_image(ring)[:, :2]
        rows, columns = np.nonzero(opening)
        near = np.hypot(columns - after[:, 0].mean(), rows - after[:, 1].mean()) < EYE_REACH * pose.scale
        rows, columns = rows[near], columns[near]

        homogeneous = np.column_stack([after, np.ones(len(after))])
        affine = np.linalg.lstsq(homogeneous, before, rcond=None)[0]
        source = np.column_stack([columns, rows, np.ones(len(rows))]) @ affine
        visible = opening[rows, columns][:, None]
        origin[rows, columns] += visible * (source - origin[rows, columns])
