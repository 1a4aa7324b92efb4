"""Contact sheets: what no figure tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from joyvasa.errors import OutputError
from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_video
from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.poses import WIDEST, YAW, Poses
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.measurement.table import Row
from joyvasa.sample.networks.points import LEFT_CORNER, LEFT_LIDS, RIGHT_CORNER, RIGHT_LIDS
from joyvasa.sample.training.pictures import SIZE

TILE = 224  # pixels
CAPTION = 16
MOUTHS = (0.0, 0.1, 0.2, WIDEST)  # openings
DETAIL = (288, 216)  # pixels of an enlarged mouth, or of enlarged eyes
REACH = 0.19  # half width of what they show, in sides of the crop
CHIN = 0.06  # how much further down a mouth is shown than its corners are, in half sides
FILM_FRAMES = 8  # of each film
CORNERS, LIDS = (RIGHT_CORNER, LEFT_CORNER), (*RIGHT_LIDS, *LEFT_LIDS)
SHEETS = "Teeth or a dark cavity with an edge, no smear: by looking at the sheets"


def portrait_sheet(subjects: Sequence[Subject], poses: Poses) -> Image:
    """A row for each portrait: source, mouth closed, widest mouth, eyes shut, head turned to both sides."""
    rows = []
    for subject in subjects:
        driven = [{}, {"mouth": WIDEST}, {"blink": 1.0}, {"yaw": -YAW}, {"yaw": YAW}]
        tiles = [subject.face, *(poses.render(subject, **pose).numpy() for pose in driven)]
        rows.append(captioned(f"{subject.name}: source, closed, widest, blink, turns", [_tile(tile) for tile in tiles]))
    return np.vstack(rows)


def detail_sheet(subjects: Sequence[Subject], poses: Poses) -> Image:
    """A row for each portrait: its mouth, then closed and opened further and further; its eyes, shut."""
    rows = []
    for subject in subjects:
        # Lips and lids stay about where they are.
        mouth_at, eyes_at = (subject.keypoints[0, list(points), :2].mean(0).cpu().numpy() for points in (CORNERS, LIDS))
        driven = [subject.face, *(poses.render(subject, mouth=mouth).numpy() for mouth in MOUTHS)]
        tiles = [enlarged(face, mouth_at + np.array([0, CHIN])) for face in driven]
        tiles.append(enlarged(poses.render(subject, blink=1.0).numpy(), eyes_at))
        said = ", ".join(f"{mouth:g}" for mouth in MOUTHS)
        rows.append(captioned(f"{subject.name}: source; openings {said}; eyes shut", tiles))
    return np.vstack(rows)


def film_sheet(films: Sequence[Film]) -> Image:
    """A row for each film: frames at equal distances."""
    rows = []
    for film in films:
        left, top, right, bottom = (int(edge) for edge in _square(film.subject.box))
        frames = [
            np.asarray(frame[max(top, 0) : bottom, max(left, 0) : right])
            for batch in stream_video(film.path, frames_per_second=2.0)
            for frame in batch
        ]
        chosen = [frames[number * len(frames) // FILM_FRAMES] for number in range(FILM_FRAMES)]
        rows.append(captioned(film.path.stem, [_tile(frame) for frame in chosen]))
    return np.vstack(rows)


def sheet_rows(subjects: Sequence[Subject], names: Sequence[str]) -> list[Row]:
    """No figure: somebody must look."""
    return [
        Row(
            "sheets",
            SHEETS,
            inputs=f"{len(subjects)} portraits",
            note=", ".join(names),
            missing="somebody who looks at it",
        )
    ]


def write_sheet(path: Path, sheet: Image) -> None:
    """Writes a PNG.

    Raises:
        OutputError: `output_unwritable`.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OutputError("output_unwritable", f"{path}: could not be written; expected a folder with free space")


def captioned(text: str, tiles: Sequence[Image]) -> Image:
    """Tiles of one size side by side under a line of text."""
    row = np.hstack(tiles)
    line = np.full((CAPTION, row.shape[1], 3), 255, np.uint8)
    cv2.putText(line, text, (4, CAPTION - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([line, row])


def enlarged(face: Image, where: np.ndarray) -> Image:
    """A part of a face crop, `DETAIL` large.

    Args:
        face: uint8 (SIZE, SIZE, 3).
        where: its middle, x and y in -1 to 1.
    """
    centre = (where + 1) / 2 * SIZE - 0.5
    width, height = DETAIL
    scale = width / (2 * REACH * SIZE)
    matrix = np.array([[scale, 0, width / 2 - scale * centre[0]], [0, scale, height / 2 - scale * centre[1]]])
    return np.asarray(cv2.warpAffine(face, matrix, DETAIL, flags=cv2.INTER_CUBIC), np.uint8)


def _tile(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA), np.uint8)


def _square(box: np.ndarray) -> np.ndarray:
    centre, half = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * 0.75
    return np.concatenate([centre - half, centre + half])
