"""Whether everything around the head stands still."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_video
from joyvasa.media.video_writer import VideoWriter
from joyvasa.metrics.support.reference_frame import face_box, still_frame
from joyvasa.models import Models
from joyvasa.sample.measurement.films import Film
from joyvasa.sample.measurement.signals import RATE, flicker_ratio
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.watcher import Watcher

SIDE = 256  # of the face crop, in which the background is told from the head and followed
FLOW_FRAMES = 5  # one of so many frames is followed
WINDOW = 11  # pixels: what is followed, small enough to hold nothing of the head
CORNER_STRENGTH = 5e-5  # least eigenvalue of the structure tensor, of OpenCV: a corner of 8 of 255, above noise of 1.5
FEWEST_CORNERS, MOST_CORNERS = 12, 400
SURELY_NONE = 0.1  # of a pixel that is person
MARGIN = 0.03  # of the side, around the head: flow is smooth and bleeds so far
MIN_SHARE = 0.03  # of the crop; of less background nothing is measured
STILL, CALM = Bar("below", 1.0), Bar("at most", 1.1)


@dataclass(frozen=True)
class Around:
    """What surrounds a head in the frames of a film.

    Args:
        box: of the face crop in the frame: left, top, right, bottom, pixels, within the frame.
        mask: bool (SIDE, SIDE) of that box, where it is background.
        still: the frame that shows the picture unmoved.
    """

    box: tuple[int, int, int, int]
    mask: np.ndarray
    still: Image

    def part(self, frame: Image) -> Image:
        """The box of a frame, uint8 (SIDE, SIDE, 3)."""
        left, top, right, bottom = self.box
        return np.asarray(
            cv2.resize(frame[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8
        )


def around(subject: Subject, models: Models, watcher: Watcher) -> Around | None:
    """The background of a portrait in its film; None where there is next to none."""
    picture = subject.portrait.picture
    still = still_frame(picture, models.composer(picture), models.bundle.switches.output_size)
    height, width = still.shape[:2]
    left, top, right, bottom = face_box(subject.crop, width=width, height=height, pasted=models.config.paste_back)
    box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    found = Around(box, np.zeros((SIDE, SIDE), bool), still)
    found.mask[:] = beside(watcher.person(found.part(still)))
    return found if found.mask.mean() >= MIN_SHARE else None


def beside(person: np.ndarray) -> np.ndarray:
    """Where a picture shows neither head nor body, nor what is close to them, bool (H, W).

    Args:
        person: (H, W) in 0 to 1, how much of each pixel is person.
    """
    reach = 2 * int(MARGIN * len(person)) + 1
    near = cv2.dilate(person.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return near < SURELY_NONE


def background_rows(films: Sequence[Film], models: Models, watcher: Watcher, folder: Path) -> list[Row]:
    """Over all films, each weighing the same.

    Args:
        films: to look at.
        models: of the bundle.
        watcher: the teacher, that tells persons from what is behind them.
        folder: for still pictures as videos.
    """
    motions: dict[str, float] = {}
    ratios: dict[str, float] = {}
    encoded: dict[str, float] = {}
    levels = []
    for film in films:
        place = around(film.subject, models, watcher)
        if place is None:
            continue
        name = film.path.stem
        still = _still_film(place, folder / f"{name}-still.mp4", film.n_frames, models)
        reference = next(iter(stream_video(still, frames_per_second=RATE)))[0]
        motions[name], differences = _watch(film.path, place, reference)
        least = _watch(still, place, reference)[1]
        ratios[name] = flicker_ratio(differences, least)
        levels.append(float(differences.mean()))
        calm = _calm_film(film, place, folder / f"{name}-calm.mp4", models)
        encoded[name] = flicker_ratio(_watch(calm, place, reference)[1], least)
    moved = "Motion of corners of the background from where the picture has them, 95th percentile"
    changed = "Difference of neighbouring frames there, against that of the still picture as a video"
    due = "the same if no pixel there had moved before encoding: what is due to the encoder"
    shared: Any = {"inputs": "videos", "worst": max}
    flicker = mean_row("background_flicker", changed, ratios, "times", CALM, **shared)
    if levels:
        flicker = replace(flicker, note=f"of 255: {np.mean(levels):.3f} a frame; {flicker.note}")
    return [
        mean_row("background_motion", moved, motions, "px of the video", STILL, **shared),
        flicker,
        mean_row("background_encoded", due, encoded, "times", **shared),
    ]


def _watch(path: Path, place: Around, reference: Image) -> tuple[float, np.ndarray]:
    """95th percentile of the motion from a reference, pixels of the video; mean differences of neighbours.

    Motion is measured where it can be: at corners of the background. On a smooth wall any motion explains the picture,
    and optical flow spreads that of the head over it. Not a number without corners. The reference is a frame of the
    still picture as a video: compression moves soft corners of the picture itself by some pixels, once and for all.
    """
    left, top, right, bottom = place.box
    to_video = np.array([(right - left) / SIDE, (bottom - top) / SIDE])
    still = cv2.cvtColor(place.part(reference), cv2.COLOR_RGB2GRAY)
    corners = _corners(still, place.mask)
    lengths, differences = [], []
    last: Image | None = None
    number = 0
    for batch in stream_video(path, frames_per_second=RATE):
        for frame in batch:
            part = place.part(frame)
            if last is not None:
                differences.append(float(cv2.absdiff(part, last)[place.mask].mean()))
            if number % FLOW_FRAMES == 0 and len(corners):
                grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
                found, seen, _ = cv2.calcOpticalFlowPyrLK(
                    still, grey, corners, corners.copy(), winSize=(WINDOW, WINDOW), maxLevel=1
                )
                motion = (found - corners)[seen[:, 0] == 1, 0] * to_video
                lengths.append(np.linalg.norm(motion, axis=-1))
            last = part
            number += 1
    motion = float(np.percentile(np.concatenate(lengths), 95)) if lengths else float("nan")
    return motion, np.array(differences)


def _corners(still: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Places in the background that can be followed, (n, 1, 2) float32; none if there are too few."""
    sharp = cv2.cornerMinEigenVal(still, WINDOW) > CORNER_STRENGTH
    where = (mask & sharp).astype(np.uint8) * 255
    corners = cv2.goodFeaturesToTrack(still, MOST_CORNERS, 1e-6, WINDOW / 2, mask=where, blockSize=WINDOW)
    if corners is None or len(corners) < FEWEST_CORNERS:
        return np.zeros((0, 1, 2), np.float32)
    return corners


def _still_film(place: Around, path: Path, n_frames: int, models: Models) -> Path:
    return _encode(path, itertools.repeat(place.still, n_frames), place, n_frames, models)


def _calm_film(film: Film, place: Around, path: Path, models: Models) -> Path:
    """The head of a film before a background of which each pixel stands still."""
    left, top, right, bottom = place.box
    moving = np.zeros(place.still.shape[:2], bool)
    beside = cv2.resize(place.mask.astype(np.uint8), (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    moving[top:bottom, left:right] = beside == 0
    frames = (frame for batch in stream_video(film.path, frames_per_second=RATE) for frame in batch)
    calm = (np.where(moving[..., None], frame, place.still) for frame in frames)
    return _encode(path, calm, place, film.n_frames, models)


def _encode(path: Path, frames: Iterable[Image], place: Around, n_frames: int, models: Models) -> Path:
    height, width = place.still.shape[:2]
    with VideoWriter(
        path, width=width, height=height, frames_per_second=RATE, n_frames=n_frames, config=models.config.encoding
    ) as writer:
        for frame in frames:
            writer.write(frame[None])
    return path
