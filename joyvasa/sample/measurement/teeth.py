"""Color of teeth in videos, relative to the skin: `python -m joyvasa.sample.measurement.teeth VIDEO ...`.

Talking people show how teeth look in the light of a face; generated videos should look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from joyvasa.bundles.detectors import load_builtin_detector
from joyvasa.faces.detection import FaceDetector
from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_frames
from joyvasa.sample.training.command import run_command
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE, FaceMeshDetector
from joyvasa.sample.training.mesh_points import load_mesh_points

FRAMES_PER_SECOND = 6.0
MIN_GAP = 0.09  # between the lips, in eye distances; the teeth of smaller openings are a pixel or two high
MIN_PIXELS = 30
MIDDLE = slice(3, 8)  # points of the inner lips: corners of the mouth lie in shadow
TEETH_SHARE = 0.12  # of the pixels between the lips, those with the most blue relative to the skin
CHEEK_PX = 2  # half the side of a sample of the cheeks

Videos = Annotated[list[Path], typer.Argument(help="Videos of faces that talk.")]


@dataclass(frozen=True)
class TeethColor:
    """Colors in one frame, float (3,), RGB in 0 to 255."""

    teeth: np.ndarray
    cheeks: np.ndarray


def read_teeth(image: Image, points: np.ndarray) -> TeethColor | None:
    """Return the color of the teeth in a picture; None unless the mouth is wide open.

    Args:
        image: uint8 RGB (height, width, 3).
        points: face mesh in pixels, (468, 3).
    """
    mesh, flat = load_mesh_points(), points[:, :2]
    upper, lower = flat[mesh.lips_upper[0]], flat[mesh.lips_lower[0]]
    eyes = np.linalg.norm(flat[LEFT_EYE].mean(0) - flat[RIGHT_EYE].mean(0))
    if np.linalg.norm(upper[5] - lower[5]) < MIN_GAP * eyes:
        return None
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(np.concatenate([upper[MIDDLE], lower[MIDDLE][::-1]])).astype(int)], 255)
    inside = image[mask > 0].astype(float)
    if len(inside) < MIN_PIXELS:
        return None
    cheeks = np.mean([_sample(image, point) for point in flat[mesh.cheeks]], axis=0)
    blue = inside[:, 2] / max(cheeks[2], 1.0)
    return TeethColor(inside[blue >= np.quantile(blue, 1 - TEETH_SHARE)].mean(0), cheeks)


def _sample(image: Image, point: np.ndarray) -> np.ndarray:
    limits = np.array(image.shape[1::-1]) - 1 - CHEEK_PX
    x, y = np.clip(point, CHEEK_PX, limits).astype(int)
    around = image[y - CHEEK_PX : y + CHEEK_PX + 1, x - CHEEK_PX : x + CHEEK_PX + 1]
    return around.reshape(-1, 3).mean(0)


def read_video(path: Path, detector: FaceDetector, mesh: FaceMeshDetector) -> list[TeethColor]:
    """Return the colors in all frames of a video that show teeth."""

    def frames() -> Iterator[Image]:
        return stream_frames(path, frames_per_second=FRAMES_PER_SECOND)

    faces = next((found for frame in frames() if (found := detector.detect(frame))), None)
    if not faces:
        return []
    tracked = mesh.track(frames(), faces[0].box)
    colors = (read_teeth(image, points) for image, points in tracked if points is not None)
    return [color for color in colors if color]


def format_row(path: Path, colors: list[TeethColor]) -> str:
    """Return the medians over a video as a row in Markdown."""
    if not colors:
        return f"| {path.stem} | 0 | | | |"
    teeth, cheeks = (np.median([getattr(color, part) for color in colors], axis=0) for part in ("teeth", "cheeks"))
    figures = (teeth.mean() / cheeks.mean(), teeth[0] / teeth[1], cheeks[0] / cheeks[1])
    return f"| {path.stem} | {len(colors)} | {' | '.join(f'{figure:.2f}' for figure in figures)} |"


def measure_teeth(videos: Videos) -> None:
    """Print brightness and hue of the teeth in videos."""
    detector = load_builtin_detector("blazeface", "human", torch.device("cpu"))
    mesh = FaceMeshDetector()
    typer.echo("| video | frames with teeth | brightness over that of cheeks | red over green | the same of cheeks |")
    typer.echo("|---|---|---|---|---|")
    for path in videos:
        typer.echo(format_row(path, read_video(path, detector, mesh)))


if __name__ == "__main__":
    run_command(lambda: typer.run(measure_teeth))
