"""A visible mark for videos of test weights."""

from __future__ import annotations

import cv2
import numpy as np


def stamp_frames(frames: np.ndarray, text: str) -> None:
    """Draw a line of text into the lower left corner of every frame, in place.

    Args:
        frames: frames, uint8 RGB, shape (batch, height, width, 3).
        text: one line of text; its size is proportional to the width of the picture.
    """
    height, width = frames.shape[1:3]
    scale = width / 2.5 / (18 * len(text))  # a Hershey letter is about 18 pixels wide at scale 1
    thickness = max(1, round(scale * 2))
    (_, letter_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    corner = (max(2, width // 40), height - max(2, letter_height // 2))
    for frame in frames:
        cv2.putText(frame, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thickness * 3, cv2.LINE_AA)
        cv2.putText(frame, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 220, 0), thickness, cv2.LINE_AA)
