"""A drawn cat, for tests without real pictures."""

from __future__ import annotations

import cv2
import numpy as np

CAT_EYES = ((148, 190), (252, 190))  # pixels of the upright drawing


def draw_cat(*, degrees: float = 0.0) -> np.ndarray:
    """Draw the face of a cat, uint8 RGB (400, 400, 3).

    Args:
        degrees: roll of the face, clockwise.
    """
    image = np.full((400, 400, 3), 235, np.uint8)
    fur, dark = (150, 130, 110), (70, 50, 50)

    for side in (-1, 1):
        for color, ear in (
            (fur, [(40, 110), (115, 40), (125, 180)]),
            ((190, 160, 150), [(62, 115), (105, 70), (112, 160)]),
        ):
            cv2.fillPoly(image, [np.array([(200 + side * x, y) for x, y in ear])], color)
    cv2.ellipse(image, (200, 215), (130, 115), 0, 0, 360, fur, -1)
    cv2.ellipse(image, (200, 270), (62, 48), 0, 0, 360, (215, 205, 195), -1)
    for x, y in CAT_EYES:
        cv2.ellipse(image, (x, y), (27, 24), 0, 0, 360, (200, 190, 140), -1)
        cv2.ellipse(image, (x, y), (16, 21), 0, 0, 360, (20, 20, 20), -1)
        cv2.circle(image, (x + 5, y - 8), 5, (250, 250, 250), -1)
    for side in (-1, 1):
        cv2.ellipse(image, (200 + side * 22, 262), (24, 20), 0, 10, 170, dark, 3)
    cv2.fillPoly(image, [np.array([(182, 232), (218, 232), (200, 250)])], (190, 110, 110))
    cv2.line(image, (200, 250), (200, 266), dark, 3)

    rotated = cv2.warpAffine(
        cv2.GaussianBlur(image, (0, 0), 1.5),
        cv2.getRotationMatrix2D((200, 200), -degrees, 1.0),
        (400, 400),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(rotated, dtype=np.uint8)
