"""Face region of a frame."""

from __future__ import annotations

import numpy as np

from joyvasa.errors import InputError
from joyvasa.metrics.base import Clip

MIN_SIDE = 16  # pixels; smaller regions are not measured

Region = tuple[slice, slice]


def face_region(clip: Clip) -> Region:
    """Return rows and columns of the face box within the frame.

    Raises:
        InputError: `face_unknown` or `face_too_small`.
    """
    if clip.face_box is None:
        raise InputError("face_unknown", "the position of the face is unknown; expected a face in the first frame")
    left, top, right, bottom = clip.face_box
    rows, columns = slice(max(top, 0), min(bottom, clip.height)), slice(max(left, 0), min(right, clip.width))
    if min(rows.stop - rows.start, columns.stop - columns.start) < MIN_SIDE:
        size = f"face box {clip.face_box} in frames of {clip.width}x{clip.height} pixels"
        raise InputError("face_too_small", f"{size}; expected at least {MIN_SIDE} pixels a side in the frame")
    return rows, columns


def crop_region(image: np.ndarray, region: Region) -> np.ndarray:
    """Return the region of one or more images as a contiguous array."""
    rows, columns = region
    return np.ascontiguousarray(image[..., rows, columns, :])
