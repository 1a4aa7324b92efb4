"""The part of a frame that shows the face."""

from __future__ import annotations

import numpy as np

from joyvasa.metrics.base import Clip, NotMeasured

MIN_SIDE = 16  # pixels; of less than this nothing is measured

Region = tuple[slice, slice]


def face_region(clip: Clip) -> Region | NotMeasured:
    """Rows and columns of the clip's face box, as far as they lie in the frame; or why there are none."""
    if clip.face_box is None:
        return NotMeasured("face_unknown", "where the face is is not known; expected a face in the first frame")
    left, top, right, bottom = clip.face_box
    rows, columns = slice(max(top, 0), min(bottom, clip.height)), slice(max(left, 0), min(right, clip.width))
    if min(rows.stop - rows.start, columns.stop - columns.start) < MIN_SIDE:
        found = f"face box {clip.face_box} in frames of {clip.width}x{clip.height} pixels"
        return NotMeasured("face_too_small", f"{found}; expected at least {MIN_SIDE} pixels a side in the frame")
    return rows, columns


def crop_region(image: np.ndarray, region: Region) -> np.ndarray:
    """The region of an image, or of several, as a contiguous array."""
    rows, columns = region
    return np.ascontiguousarray(image[..., rows, columns, :])
