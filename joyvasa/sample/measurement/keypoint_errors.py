"""Whether M finds keypoints where the teacher has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joyvasa.metrics.mouth_sound import pearson
from joyvasa.sample.measurement.subjects import FACE, Subject
from joyvasa.sample.measurement.table import Bar, Row
from joyvasa.sample.measurement.tracks import Track
from joyvasa.sample.measurement.watcher import Watcher
from joyvasa.sample.networks.points import LEFT_LIDS, LIPS, RIGHT_LIDS

MOST_ERROR, LEAST_CORRELATION = Bar("at most", 4.0), Bar("at least", 0.9)
KEYPOINT_ROWS = {
    "keypoint_error": "Keypoints of M against the teacher, mean error",
    "lip_error": "the same, lips alone",
    "lid_error": "the same, lids alone",
}
GAP_ROWS = {"mouth_gap_correlation": "Gap between the lips, M against the teacher over all videos, correlation"}
PERCENT = "% of the distance between the eyes"


def keypoint_rows(subjects: Sequence[Subject], watcher: Watcher) -> list[Row]:
    """Errors on portraits; those in which the teacher sees no face are left out and counted."""
    errors, names = [], []
    for subject in subjects:
        size = len(subject.crop.image)
        mesh = watcher.find(subject.crop.image, FACE * size)
        if mesh is None:
            continue
        head = watcher.head(mesh, size)
        wanted = (head.keypoints(head.face, (0, 0), head.pose)[:, :2] + 0.5) * 2 / size - 1
        errors.append(point_errors(subject.keypoints[0, :, :2].cpu().numpy(), wanted))
        names.append(subject.name)
    if not errors:
        return [
            Row(name, what, missing="portraits in which the teacher sees a face")
            for name, what in KEYPOINT_ROWS.items()
        ]
    table = 100 * np.stack(errors)  # (portraits, 21)
    each = table.mean(1)
    worst = int(each.argmax())
    inputs = f"{len(errors)} portraits"
    note = f"worst {names[worst]}: {each[worst]:.1f}; median {np.median(each):.1f}"
    if len(errors) < len(subjects):
        note += f"; the teacher sees no face in {len(subjects) - len(errors)} more"
    parts = (slice(None), list(LIPS), [*RIGHT_LIDS, *LEFT_LIDS])
    return [
        Row(name, what, float(table[:, part].mean()), PERCENT, bar, inputs, said)
        for (name, what), part, bar, said in zip(
            KEYPOINT_ROWS.items(), parts, (MOST_ERROR, None, None), (note, "", ""), strict=True
        )
    ]


def point_errors(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distance of each point from where it should be, in distances between the eyes, (21,).

    Args:
        found: shape (21, 2), in any unit.
        wanted: likewise.
    """
    apart = np.linalg.norm(wanted[list(RIGHT_LIDS)].mean(0) - wanted[list(LEFT_LIDS)].mean(0))
    return np.linalg.norm(found - wanted, axis=1) / apart


def gap_rows(tracks: Sequence[Track]) -> list[Row]:
    """Correlation over the frames of all videos, and in each of them."""
    (name, what), *_ = GAP_ROWS.items()
    found = [pearson(*track.gaps) for track in tracks]
    note = f"mean of the videos {np.mean(found):.2f}: "
    note += "; ".join(
        f"{track.name} {value:.2f} (gap varies by {track.gaps[1].std():.3f})"
        for track, value in zip(tracks, found, strict=True)
    )
    value = pooled_correlation([track.gaps for track in tracks])
    return [Row(name, what, value, "", LEAST_CORRELATION, f"{len(found)} videos", note)]


def pooled_correlation(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Correlation of two signals over several videos, each measured from its own mean in every video.

    So a video weighs as much as its signals move: one in which nothing happens is noise against noise.

    Args:
        pairs: of each video, both of shape (n,).
    """
    centred = [(a - a.mean(), b - b.mean()) for a, b in pairs]
    a, b = (np.concatenate(side) for side in zip(*centred, strict=True))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
