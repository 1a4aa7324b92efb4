"""Whether a driven face is still the portrait's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.first_frame import ssim
from joyvasa.sample.measurement.poses import Poses
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.measurement.table import Row
from joyvasa.sample.training.pictures import SIZE

FACE_SIZE = 1.15  # of the box of the keypoints: what is compared; most of a crop is no face and stands still anyway
WORST = 3  # that are named
IDENTITY_ROWS = {
    "identity": "SSIM of the face at rest, mouth closed and eyes open, against the source; mean",
    "identity_worst": "the same, the worst portrait",
}


def identity_rows(subjects: Sequence[Subject], poses: Poses) -> list[Row]:
    """Mean and worst; portraits with an open mouth count, too, and lose what closing it changes."""
    found: dict[str, float] = {}
    for subject in subjects:
        picture = poses.render(subject)
        part = face_box(subject.keypoints[0].cpu().numpy())
        found[subject.name] = ssim(picture.numpy()[part], subject.face[part])
    worst = sorted(found, key=lambda name: found[name])[:WORST]
    inputs = f"{len(found)} portraits"
    mean, least = IDENTITY_ROWS.items()
    note = "; ".join(f"{name} {found[name]:.3f}" for name in worst)
    return [
        Row(*mean, float(np.mean(list(found.values()))), "", None, inputs),
        Row(*least, found[worst[0]], "", None, inputs, note),
    ]


def face_box(keypoints: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a face crop that show the face.

    Args:
        keypoints: shape (21, 3), x and y in -1 to 1.
    """
    places = (keypoints[:, :2] + 1) / 2 * SIZE
    centre, half = (places.min(0) + places.max(0)) / 2, FACE_SIZE * (places.max(0) - places.min(0)) / 2
    left, top = np.floor((centre - half).clip(0, SIZE)).astype(int)
    right, bottom = np.ceil((centre + half).clip(0, SIZE)).astype(int)
    return slice(top, bottom), slice(left, right)
