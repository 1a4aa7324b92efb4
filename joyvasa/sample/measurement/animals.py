"""`python -m joyvasa.sample.measurement.animals`: animate pictures of animals and measure the videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from joyvasa.animator import Animator
from joyvasa.errors import InputError
from joyvasa.faces.animals import AnimalDetector
from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_frames
from joyvasa.metrics.support.sound import read_soundtrack
from joyvasa.motion.driving import DrivingConfig
from joyvasa.motion.keypoints import KeypointInfo, transform_keypoints
from joyvasa.networks.pictures import to_network_input
from joyvasa.options import AnimationConfig
from joyvasa.sample.measurement.sheets import draw_caption, join_tiles, write_sheet
from joyvasa.sample.measurement.signals import RATE, correlation_near_zero
from joyvasa.sample.measurement.videos import shorten_recording
from joyvasa.sample.networks.animal_motion_extractor import CROP_UNIT, AnimalMotionExtractor
from joyvasa.sample.networks.points import INNER_LOWER_LIP, LEFT_CORNER, NOSE_TIP, RIGHT_CORNER
from joyvasa.sample.training.animal_media import annotated_points, eye_centers, measure_unit
from joyvasa.sample.training.command import run_command
from joyvasa.sample.training.training_media import PICTURES, SIZE, reduce_crop

TILE, FRAMES = 160, 8  # pixels of a tile of the sheet; frames of each video
SHOWN = (slice(48, 216), slice(44, 212))  # rows and columns of the crop that the sheet shows
SHEET, TABLE, VIDEOS = "animals.png", "animals.md", "videos"
RIM = 0.05  # width of the rim of the crop that should not change, sides of the crop
CHANGED = 16  # difference of a channel, of 255, from which a pixel counts as changed; encoding stays below
SILENT, LOUD = 18.0, 6.0  # decibels below the 95th percentile of the level: silence, at most; loud sound, at least
UNIT = CROP_UNIT * SIZE  # pixels of the crop
# Patches: below the lip, half its smallest width, half the side at the nose, units.
JAW, MIN_HALF, NOSE = (0.03, 0.42), 0.25, 0.28
SEARCH, ZOOM = 0.45, 3  # how far a patch may move, units; magnification, for fractions of pixels

Folders = Annotated[list[Path], typer.Argument(help="Folders with pictures of animals.")]
Speech = Annotated[Path, typer.Option("--speech", help="Recording of speech; its first eight seconds are used.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the table, the sheet and the videos.")]
BundleName = Annotated[str, typer.Option("--models", help="Model bundle.")]


@dataclass(frozen=True)
class AnimalResult:
    """Figures of one picture; NaN where something is unknown."""

    name: str  # name of the file
    score: float | None  # score of the detector; None if no face was found
    error: float = float("nan")  # mean distance of eyes, nose and mouth from the annotation, in units of the face
    # correlation of mouth opening and sound level, the best within two frames of lag 0
    correlation: float = float("nan")
    # mean opening beyond that of the portrait in silence and in loud sound, in units of the face
    silent: float = float("nan")
    loud: float = float("nan")
    changed: float = float("nan")  # largest share of the rim of the crop that changes in a frame


def measure_animal(animator: Animator, picture: Path, sound: Path, out: Path) -> tuple[AnimalResult, list[Image]]:
    """Animate one picture and measure the video.

    Returns:
        The figures, and the tiles of the sheet: the portrait, then `FRAMES` frames.
    """
    detector, extractor = animator.models.detector, animator.models.network("motion_extractor")
    assert isinstance(detector, AnimalDetector)
    assert isinstance(extractor, AnimalMotionExtractor)
    try:
        prepared = animator.read_picture(picture)
    except InputError:
        return AnimalResult(picture.name, None), []
    assert prepared.crop is not None
    face = detector.detect(prepared.image)[0]
    error = _landmark_error(picture, prepared.image, face.landmarks)

    video = animator.animate(picture, sound, out / f"{picture.stem}.mp4")
    crops = []
    size = prepared.image.shape[1], prepared.image.shape[0]
    matrix = prepared.crop.to_crop[:2] * (SIZE / len(prepared.crop.image))
    for frame in stream_frames(video.path, frames_per_second=RATE):
        frame = frame if frame.shape[1::-1] == size else cv2.resize(frame, size)
        crops.append(np.asarray(cv2.warpAffine(frame, matrix, (SIZE, SIZE), flags=cv2.INTER_AREA), np.uint8))

    source = reduce_crop(prepared.crop.image)
    with torch.inference_mode():
        info = KeypointInfo.from_heads(extractor(to_network_input(source, SIZE).to(animator.models.device)))
    points = (transform_keypoints(info)[0, :, :2].cpu().numpy() + 1) * SIZE / 2 - 0.5
    openings = read_openings(points, [source, *crops])
    opened, level = openings[1:] - openings[0], read_soundtrack(sound).level[: len(crops)]
    opened = opened[: len(level)]
    usual = np.percentile(level, 95)
    result = AnimalResult(
        name=picture.name,
        score=face.score,
        error=error,
        correlation=correlation_near_zero(opened, level),
        silent=_mean(opened[level < usual - SILENT]),
        loud=_mean(opened[level > usual - LOUD]),
        changed=max(_changed_share(crops[0], crop) for crop in crops),
    )
    chosen = np.linspace(0, len(crops) - 1, FRAMES).round().astype(int)
    return result, [crop[SHOWN[0], SHOWN[1]] for crop in (source, *(crops[number] for number in chosen))]


def _landmark_error(picture: Path, image: Image, landmarks: np.ndarray) -> float:
    points = annotated_points(picture)
    if points is None:
        return float("nan")
    original = cv2.imread(str(picture))
    assert original is not None
    points = points * (image.shape[1] / original.shape[1])
    eyes = eye_centers(points)
    expected = np.array([eyes[1], eyes[0], points[4], points[6], points[5]])
    found = np.array([landmarks[:2].mean(0), landmarks[2:4].mean(0), landmarks[4], landmarks[5], landmarks[6]])
    return float(np.linalg.norm(found - expected, axis=1).mean() / measure_unit(points))


def read_openings(points: np.ndarray, crops: list[Image]) -> np.ndarray:
    """Return how far the jaw is below its place in the portrait, relative to the nose, in units of the face, (n,).

    Patches of the portrait, the first crop, at the nose and below the mouth are found again in each crop by their
    correlation. `points` are its keypoints, (21, 2), in pixels of the crop.
    """
    lip, nose = points[INNER_LOWER_LIP], points[NOSE_TIP]
    half = max(float(np.abs(points[[RIGHT_CORNER, LEFT_CORNER], 0] - lip[0]).max()), MIN_HALF * UNIT)
    jaw_box = lip[0] - half, lip[1] + JAW[0] * UNIT, lip[0] + half, lip[1] + JAW[1] * UNIT
    nose_box = nose[0] - NOSE * UNIT, nose[1] - NOSE * UNIT, nose[0] + NOSE * UNIT, nose[1] + NOSE * UNIT
    jaw, anchor = (_follow_patch(box, crops) for box in (jaw_box, nose_box))
    return (jaw - anchor) / UNIT


def _follow_patch(box: tuple[float, ...], crops: list[Image]) -> np.ndarray:
    """Return how far down a patch of the first crop is in each crop, pixels, (n,)."""
    large = [cv2.cvtColor(cv2.resize(crop, None, fx=ZOOM, fy=ZOOM), cv2.COLOR_RGB2GRAY) for crop in crops]
    left, top, right, bottom = (int(np.clip(edge * ZOOM, 0, SIZE * ZOOM)) for edge in box)
    patch = large[0][top:bottom, left:right]
    if min(patch.shape) < ZOOM * 4:
        return np.full(len(crops), np.nan)
    reach = int(SEARCH * UNIT * ZOOM)
    first = max(0, top - reach)
    down = []
    for crop in large:
        area = crop[first : bottom + 2 * reach, max(0, left - reach) : right + reach]
        _, _, _, best = cv2.minMaxLoc(cv2.matchTemplate(area, patch, cv2.TM_CCOEFF_NORMED))
        down.append((best[1] + first - top) / ZOOM)
    return np.array(down)


def _changed_share(first: Image, crop: Image) -> float:
    rim = np.ones((SIZE, SIZE), bool)
    width = round(RIM * SIZE)
    rim[width:-width, width:-width] = False
    difference = np.abs(first.astype(int) - crop)[rim].max(-1)
    return float((difference > CHANGED).mean())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def format_table(results: list[AnimalResult]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| picture | score | landmarks, units | correlation | open in silence, units | in loud sound | rim changed |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        if r.score is None:
            lines.append(f"| {r.name} | no face | | | | | |")
            continue
        figures = (r.score, r.error, r.correlation, r.silent, r.loud)
        cells = ["" if np.isnan(value) else f"{value:.2f}" for value in figures]
        lines.append(f"| {r.name} | {' | '.join(cells)} | {r.changed:.1%} |")
    found = [r for r in results if r.score is not None]
    correlations = [r.correlation for r in found if not np.isnan(r.correlation)]
    reached = sum(value >= 0.5 for value in correlations)
    lines.append("")
    lines.append(
        f"Found: {len(found)} of {len(results)}. Correlation of at least 0.5: {reached} of {len(correlations)}."
    )
    return "\n".join(lines) + "\n"


def draw_sheet(rows: list[tuple[str, list[Image]]]) -> Image:
    """Draw a contact sheet with one row per animal: the portrait, then frames."""
    strips = []
    for name, tiles in rows:
        strip = join_tiles(tiles, TILE)
        strips += [draw_caption(name, strip.shape[1]), strip]
    return np.vstack(strips).astype(np.uint8)


def measure_animals(
    folders: Folders, speech: Speech, out: Out = Path("animals-measured"), models: BundleName = "sample"
) -> None:
    """Animate all pictures of the folders with one recording; write a table, a contact sheet and the videos."""
    (out / VIDEOS).mkdir(parents=True, exist_ok=True)
    sound = shorten_recording(speech, out)
    animator = Animator(AnimationConfig(models=models, mode="animal", driving=DrivingConfig(stitching=True)))
    results, rows = [], []
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.suffix.lower() in PICTURES):
        result, tiles = measure_animal(animator, path, sound, out / VIDEOS)
        results.append(result)
        if tiles:
            rows.append((path.name, tiles))
    table = format_table(results)
    (out / TABLE).write_text(table, encoding="utf-8")
    if rows:
        write_sheet(out / SHEET, draw_sheet(rows))
    typer.echo(table)


if __name__ == "__main__":
    run_command(lambda: typer.run(measure_animals))
