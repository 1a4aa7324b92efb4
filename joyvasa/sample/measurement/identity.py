"""Whether a driven face is still the portrait's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.first_frame import ssim
from joyvasa.sample.measurement.poses import Poses
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.measurement.table import Row, mean_row
from joyvasa.sample.training.pictures import SIZE

FACE_SIZE = 1.15  # of the box of the keypoints: what is compared; most of a crop is no face and stands still anyway


def identity_row(subjects: Sequence[Subject], poses: Poses) -> Row:
    """Return the mean and the worst; portraits with an open mouth count, too, and lose what closing it changes."""
    found = {}
    for subject in subjects:
        part = face_box(subject.keypoints[0].cpu().numpy())
        found[subject.name] = ssim(poses.render(subject).numpy()[part], subject.face[part])
    what = "SSIM of the face at rest, mouth closed and eyes open, against the source"
    return mean_row("identity", what, found, inputs="portraits", worst=min)


def face_box(keypoints: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of a face crop that show the face.

    Args:
        keypoints: shape (21, 3), x and y in -1 to 1.
    """
    places = (keypoints[:, :2] + 1) / 2 * SIZE
    center, half = (places.min(0) + places.max(0)) / 2, FACE_SIZE * (places.max(0) - places.min(0)) / 2
    left, top = np.floor((center - half).clip(0, SIZE)).astype(int)
    right, bottom = np.ceil((center + half).clip(0, SIZE)).astype(int)
    return slice(top, bottom), slice(left, right)
