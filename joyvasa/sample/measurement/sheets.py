"""Contact sheet of mouths and eyes for visual inspection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from joyvasa.errors import OutputError
from joyvasa.media.image import Image
from joyvasa.sample.measurement.pose_renderer import MAX_OPENING, PoseRenderer
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.networks.points import LEFT_CORNER, LEFT_LIDS, RIGHT_CORNER, RIGHT_LIDS
from joyvasa.sample.training.training_media import SIZE

CAPTION = 16  # pixels
MOUTHS = (0.0, 0.1, 0.2, MAX_OPENING)  # openings
DETAIL = (288, 216)  # pixels of an enlarged part
REACH = 0.19  # half width of an enlarged part, in sides of the crop
CHIN = 0.06  # offset of a mouth's part below the corners of the mouth, in half sides
CORNERS, LIDS = (RIGHT_CORNER, LEFT_CORNER), (*RIGHT_LIDS, *LEFT_LIDS)


def draw_detail_sheet(subjects: Sequence[Subject], poses: PoseRenderer) -> Image:
    """Return one row per portrait: its mouth in the source and with increasing openings, and its shut eyes."""
    rows = []
    for subject in subjects:
        # Lips and lids hardly change their position.
        mouth_at, eyes_at = (subject.keypoints[0, list(points), :2].mean(0).cpu().numpy() for points in (CORNERS, LIDS))
        driven = [subject.face, *(poses.render(subject, mouth=mouth).numpy() for mouth in MOUTHS)]
        tiles = [enlarge(face, mouth_at + np.array([0, CHIN])) for face in driven]
        tiles.append(enlarge(poses.render(subject, blink=1.0).numpy(), eyes_at))

        row = np.hstack(tiles)
        text = f"{subject.name}: source; openings {', '.join(f'{mouth:g}' for mouth in MOUTHS)}; eyes shut"
        rows += [draw_caption(text, row.shape[1]), row]
    return np.vstack(rows)


def join_tiles(tiles: Sequence[Image], side: int) -> Image:
    """Join pictures, each resized to a square, to a row."""
    row = np.hstack([cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA) for tile in tiles])
    return np.asarray(row, np.uint8)


def draw_caption(text: str, width: int) -> Image:
    """Draw a line of text, uint8 RGB (CAPTION, width, 3)."""
    caption = np.full((CAPTION, width, 3), 255, np.uint8)
    cv2.putText(caption, text, (4, CAPTION - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return caption


def write_sheet(path: Path, sheet: Image) -> None:
    """Write a PNG.

    Raises:
        OutputError: `output_unwritable`.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OutputError("output_unwritable", f"{path}: could not be written; expected a folder with free space")


def enlarge(face: Image, center: np.ndarray) -> Image:
    """Enlarge the part of a face crop, uint8 (SIZE, SIZE, 3), around a center, x and y in -1 to 1, to `DETAIL`."""
    x, y = (center + 1) / 2 * SIZE - 0.5
    width, height = DETAIL
    scale = width / (2 * REACH * SIZE)
    matrix = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
    return np.asarray(cv2.warpAffine(face, matrix, DETAIL, flags=cv2.INTER_CUBIC), np.uint8)
