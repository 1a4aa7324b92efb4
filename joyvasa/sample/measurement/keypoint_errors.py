"""Errors of M's keypoints against the teacher, and similarity of a driven face at rest to the portrait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.first_frame import ssim
from joyvasa.metrics.mouth_sound import pearson
from joyvasa.sample.measurement.face_reader import FaceReader
from joyvasa.sample.measurement.pose_renderer import PoseRenderer
from joyvasa.sample.measurement.subjects import FACE, Subject, face_slices
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.tracks import Track
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.training_media import SIZE

MAX_ERROR, MIN_CORRELATION = Bar("at most", 4.0), Bar("at least", 0.9)
PERCENT = "% of the distance between the eyes"
MARGIN = 0.075  # around the keypoints, in sides of their box; the rest of the crop is static


def keypoint_row(subjects: Sequence[Subject], reader: FaceReader) -> Row:
    """Return the mean error on the portraits in which the teacher finds a face."""
    errors = {}
    for subject in subjects:
        size = len(subject.crop.image)
        mesh = reader.mesh.detect(subject.crop.image, FACE * size)
        if mesh is None:
            continue
        head = reader.build_head(mesh, size)
        expected = (head.keypoints(head.face, (0, 0), head.pose)[:, :2] + 0.5) * 2 / size - 1
        actual = subject.keypoints[0, :, :2].cpu().numpy()
        eye_distance = np.linalg.norm(expected[list(RIGHT_LIDS)].mean(0) - expected[list(LEFT_LIDS)].mean(0))
        errors[subject.name] = 100 * float((np.linalg.norm(actual - expected, axis=1) / eye_distance).mean())
    description = "Keypoints of M against the teacher, mean error"
    return mean_row("keypoint_error", description, errors, PERCENT, MAX_ERROR, inputs="portraits", worst=max)


def gap_row(tracks: Sequence[Track]) -> Row:
    """Return the correlation over the frames of all videos, with that of each video in the note."""
    notes = [f"{track.name} {pearson(*track.gaps):.2f} (gap varies by {track.gaps[1].std():.3f})" for track in tracks]
    description = "Gap between the lips, M against the teacher over all videos, correlation"
    value = pooled_correlation([track.gaps for track in tracks]) if tracks else float("nan")
    return Row(
        "mouth_gap_correlation", description, value, "", MIN_CORRELATION, f"{len(tracks)} videos", "; ".join(notes)
    )


def pooled_correlation(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the correlation of two signals over several videos, after subtracting their means per video.

    Videos are thus weighted by the variation of their signals; a still mouth, whose signals are noise, hardly counts.
    """
    centerd = [(a - a.mean(), b - b.mean()) for a, b in pairs]
    a, b = (np.concatenate(side) for side in zip(*centerd, strict=True))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def identity_row(subjects: Sequence[Subject], poses: PoseRenderer) -> Row:
    """Return the mean SSIM; closing the open mouth of a portrait lowers it."""
    values = {}
    for subject in subjects:
        face = face_slices((subject.keypoints[0].cpu().numpy() + 1) / 2 * SIZE, MARGIN)
        values[subject.name] = ssim(poses.render(subject).numpy()[face], subject.face[face])
    description = "SSIM of the face at rest, mouth closed and eyes open, against the source"
    return mean_row("identity", description, values, inputs="portraits", worst=min)
