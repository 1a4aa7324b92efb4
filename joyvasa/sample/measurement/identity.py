"""Similarity of a driven face at rest to the portrait."""

from __future__ import annotations

from collections.abc import Sequence

from joyvasa.metrics.first_frame import ssim
from joyvasa.sample.measurement.pose_renderer import PoseRenderer
from joyvasa.sample.measurement.subjects import Subject, face_slices
from joyvasa.sample.measurement.table import Row, mean_row
from joyvasa.sample.training.training_media import SIZE

MARGIN = 0.075  # around the keypoints, in sides of their box; the rest of the crop is static


def identity_row(subjects: Sequence[Subject], poses: PoseRenderer) -> Row:
    """Return the mean SSIM; closing the open mouth of a portrait lowers it."""
    values = {}
    for subject in subjects:
        face = face_slices((subject.keypoints[0].cpu().numpy() + 1) / 2 * SIZE, MARGIN)
        values[subject.name] = ssim(poses.render(subject).numpy()[face], subject.face[face])
    description = "SSIM of the face at rest, mouth closed and eyes open, against the source"
    return mean_row("identity", description, values, inputs="portraits", worst=min)
