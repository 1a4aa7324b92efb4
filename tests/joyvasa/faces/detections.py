"""Detections of three faces that tests follow."""

import numpy as np

from joyvasa.faces.square import Square
from joyvasa.faces.tracking import FaceDetections


def detect(frame: int, *boxes: tuple[float, float, float]) -> FaceDetections:
    """Build detections from left, top and side of each face."""
    corners = np.array([[x, y, x + side, y + side] for x, y, side in boxes], float).reshape(-1, 4)
    return FaceDetections(
        frame, corners, tuple(Square((x + side / 2, y + side / 2), 2 * side, 0.0) for x, y, side in boxes)
    )


FACE = (100.0, 100.0, 80.0)


OTHER = (300.0, 100.0, 60.0)


ELSEWHERE = (400.0, 300.0, 80.0)
