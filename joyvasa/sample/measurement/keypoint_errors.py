"""Whether M finds keypoints where the teacher has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.mouth_sound import pearson
from joyvasa.sample.measurement.subjects import FACE, Subject
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.tracks import Track
from joyvasa.sample.measurement.watcher import Watcher
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS

MOST_ERROR, LEAST_CORRELATION = Bar("at most", 4.0), Bar("at least", 0.9)
PERCENT = "% of the distance between the eyes"


def keypoint_row(subjects: Sequence[Subject], watcher: Watcher) -> Row:
    """Return the mean error on the portraits in which the teacher sees a face."""
    errors = {}
    for subject in subjects:
        size = len(subject.crop.image)
        mesh = watcher.find(subject.crop.image, FACE * size)
        if mesh is None:
            continue
        head = watcher.head(mesh, size)
        wanted = (head.keypoints(head.face, (0, 0), head.pose)[:, :2] + 0.5) * 2 / size - 1
        found = subject.keypoints[0, :, :2].cpu().numpy()
        errors[subject.name] = 100 * float(point_errors(found, wanted).mean())
    what = "Keypoints of M against the teacher, mean error"
    return mean_row("keypoint_error", what, errors, PERCENT, MOST_ERROR, inputs="portraits", worst=max)


def point_errors(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distance of each point from where it should be, in distances between the eyes, (21,).

    Args:
        found: shape (21, 2), in any unit.
        wanted: likewise.
    """
    apart = np.linalg.norm(wanted[list(RIGHT_LIDS)].mean(0) - wanted[list(LEFT_LIDS)].mean(0))
    return np.linalg.norm(found - wanted, axis=1) / apart


def gap_row(tracks: Sequence[Track]) -> Row:
    """Return the correlation over the frames of all videos, with that of each video as the note."""
    each = [f"{track.name} {pearson(*track.gaps):.2f} (gap varies by {track.gaps[1].std():.3f})" for track in tracks]
    what = "Gap between the lips, M against the teacher over all videos, correlation"
    value = pooled_correlation([track.gaps for track in tracks]) if tracks else float("nan")
    return Row("mouth_gap_correlation", what, value, "", LEAST_CORRELATION, f"{len(tracks)} videos", "; ".join(each))


def pooled_correlation(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Correlation of two signals over several videos, each measured from its own mean in every video.

    So a video weighs as much as its signals move: one in which nothing happens is noise against noise.

    Args:
        pairs: of each video, both of shape (n,).
    """
    centred = [(a - a.mean(), b - b.mean()) for a, b in pairs]
    a, b = (np.concatenate(side) for side in zip(*centred, strict=True))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
