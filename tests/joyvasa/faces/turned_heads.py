"""Portraits whose head is turned aside by code, for tests of detectors."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

_EARS, _EYES, _MOUTH = [234, 454, 127, 356], [33, 133, 159, 145, 362, 263, 386, 374], [61, 291]
# Half width and half height of the skull, in sides of the mesh; depth of its front and of its rim, in widths.
_SKULL, _FRONT, _RIM = (0.62, 0.85), 0.75, 0.55
_OVERSAMPLING = 2  # points per pixel, so that a stretched side has no holes


def turn_head(image: np.ndarray, mesh: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn the head of a portrait about a vertical axis between the ears.

    The face has the depth of its mesh, hair and ears that of an ellipsoid. The hidden side of the head is not shown,
    so that the back of the head is missing.

    Args:
        image: uint8 RGB (height, width, 3).
        mesh: face mesh, (468, 3), pixels.
        degrees: turn; positive turns the face to the left of the picture.

    Returns:
        The picture, and the middle of the eyes and of the mouth in it, (2, 2).
    """
    height, width = image.shape[:2]
    mesh = mesh.astype(np.float64)
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    (face_width, face_height), back = high - low, np.median(mesh[_EARS, 2])
    axis, middle = (low[0] + high[0]) / 2, low[1] + 0.35 * face_height

    y, x = np.mgrid[: height * _OVERSAMPLING, : width * _OVERSAMPLING] / _OVERSAMPLING
    skull = 1 - ((x - axis) / (_SKULL[0] * face_width)) ** 2 - ((y - middle) / (_SKULL[1] * face_height)) ** 2
    depth = back - np.minimum(_FRONT * np.sqrt(skull.clip(0)), _RIM) * face_width
    on_mesh = LinearNDInterpolator(mesh[:, :2], mesh[:, 2])(x, y)
    depth = np.where(np.isnan(on_mesh), depth, on_mesh)
    head = (skull > 0) | ~np.isnan(on_mesh)

    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    column = np.round((x[head] - axis) * cos + (depth[head] - back) * sin + axis).astype(int)
    distance = (depth[head] - back) * cos - (x[head] - axis) * sin
    order = np.argsort(-distance, kind="stable")  # near pixels overwrite far ones
    column, row = column[order], np.round(y[head][order]).astype(int)
    inside = (column >= 0) & (column < width) & (row < height)
    colors = cv2.resize(image, (width * _OVERSAMPLING, height * _OVERSAMPLING))[head][order]

    hidden = cv2.resize(head.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    hole = cv2.dilate(cv2.resize(hidden, small.shape[1::-1]), np.ones((5, 5)))
    filled = cv2.resize(cv2.inpaint(small, hole, 5, cv2.INPAINT_TELEA), (width, height))
    turned = np.where(cv2.dilate(hidden, np.ones((9, 9)))[..., None] > 0, filled, image)
    shown = np.zeros((height, width), np.uint8)
    turned[row[inside], column[inside]], shown[row[inside], column[inside]] = colors[inside], 1
    gaps = (cv2.morphologyEx(shown, cv2.MORPH_CLOSE, np.ones((5, 5))) > shown)[..., None]
    turned = np.where(gaps, cv2.medianBlur(turned, 5), turned)

    points = np.stack([mesh[_EYES].mean(0), mesh[_MOUTH].mean(0)])
    points[:, 0] = (points[:, 0] - axis) * cos + (points[:, 2] - back) * sin + axis
    return turned.astype(np.uint8), points[:, :2]
