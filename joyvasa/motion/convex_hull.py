"""Convex hull of a few points in space."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-13  # volume that rounding may give to a flat tetrahedron in a cube with sides of 1


def convex_hull_volume(points: np.ndarray) -> float:
    """Compute the volume of a convex hull, which grows from a tetrahedron point by point.

    Args:
        points: finite points, float64, shape (n, 3); the time is proportional to the square of n.

    Returns:
        Volume; 0 if the points are fewer than four or in one plane, up to rounding.
    """
    size = np.ptp(points, axis=0).max() if len(points) else 0.0
    if size == 0:
        return 0.0
    points = (points - points[0]) / size

    corners = _find_tetrahedron(points)
    inside = points[corners].mean(axis=0)
    faces = corners[[[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]]
    # Corners are in the order in which points outside are at positive heights.
    inverted = _tetrahedron_volumes(points[faces], inside) > 0
    faces[inverted] = faces[inverted][:, ::-1]
    volume = -_tetrahedron_volumes(points[faces], inside).sum()
    if volume <= ROUNDING:
        return 0.0

    for index, point in enumerate(points):
        volumes = _tetrahedron_volumes(points[faces], point)
        visible = volumes > ROUNDING
        if not visible.any():
            continue
        volume += volumes[visible].sum()
        # Edges of only one visible face surround them: each is the base of a new face with the point.
        edges = {edge for a, b, c in faces[visible].tolist() for edge in ((a, b), (b, c), (c, a))}
        new = [(a, b, index) for a, b in edges if (b, a) not in edges]
        faces = np.concatenate([faces[~visible], np.array(new)])
    return float(volume * size**3)


def _find_tetrahedron(points: np.ndarray) -> np.ndarray:
    """Return the indices of four points that are far from each other."""
    first = int(np.argmin(points[:, 0]))
    offsets = points - points[first]
    second = int(np.argmax(np.linalg.norm(offsets, axis=1)))
    normals = np.cross(offsets, offsets[second])
    third = int(np.argmax(np.linalg.norm(normals, axis=1)))
    fourth = int(np.argmax(np.abs(offsets @ normals[third])))
    return np.array([first, second, third, fourth])


def _tetrahedron_volumes(faces: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Return the signed volumes between faces (n, 3 corners, 3) and a point; positive if it is outside of a face."""
    a, b, c = (faces - top).transpose(1, 0, 2)
    return -np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
