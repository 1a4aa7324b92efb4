"""Motion and flicker of the background around the head."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_frames
from joyvasa.media.video_writer import VideoWriter
from joyvasa.metrics.support.reference_frame import compose_reference_frame, compute_face_box
from joyvasa.models import Models
from joyvasa.sample.measurement.face_reader import FaceReader
from joyvasa.sample.measurement.signals import RATE, flicker_ratio
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.videos import MeasuredVideo

SIDE = 256  # pixels of the face crop in which the background is segmented and tracked
FLOW_FRAMES = 5  # one out of this many frames is tracked
WINDOW = 11  # pixels of the tracked window, small enough not to include the head
CORNER_STRENGTH = 5e-5  # minimum eigenvalue of OpenCV's structure tensor: a corner of 8 of 255, above noise of 1.5
MIN_CORNERS, MAX_CORNERS = 12, 400
MAX_PERSON = 0.1  # maximum value of the person mask in the background
MARGIN = 0.03  # distance from the head in sides of the crop, because the smooth flow bleeds that far
MIN_SHARE = 0.03  # minimum share of background in the crop
STILL, CALM = Bar("below", 1.0), Bar("at most", 1.1)


@dataclass(frozen=True)
class Background:
    """Background around a head in the frames of a video."""

    box: tuple[int, int, int, int]  # face crop in the frame: left, top, right, bottom in pixels, within the frame
    mask: np.ndarray  # background mask of the box, bool (SIDE, SIDE)
    still: Image  # frame that shows the source picture

    def crop_frame(self, frame: Image) -> Image:
        """Return the box of a frame, uint8 (SIDE, SIDE, 3)."""
        left, top, right, bottom = self.box
        return np.asarray(
            cv2.resize(frame[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8
        )


def find_background(subject: Subject, models: Models, reader: FaceReader) -> Background | None:
    """Return the background of a portrait in its video; None if there is too little."""
    picture = subject.portrait.picture
    still = compose_reference_frame(picture, models.build_composer(picture), models.bundle.switches.output_size)
    height, width = still.shape[:2]
    left, top, right, bottom = compute_face_box(
        subject.crop, width=width, height=height, pasted=models.config.paste_back
    )
    box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    background = Background(box, np.zeros((SIDE, SIDE), bool), still)
    background.mask[:] = background_mask(reader.persons.segment(background.crop_frame(still)))
    return background if background.mask.mean() >= MIN_SHARE else None


def background_mask(person: np.ndarray) -> np.ndarray:
    """Return where a picture shows neither a person nor its close surroundings, from the person mask (H, W), 0 to 1."""
    diameter = 2 * int(MARGIN * len(person)) + 1
    near = cv2.dilate(person.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)))
    return near < MAX_PERSON


def background_rows(videos: Sequence[MeasuredVideo], models: Models, reader: FaceReader, folder: Path) -> list[Row]:
    """Return means over all videos, with equal weights."""
    motions: dict[str, float] = {}
    ratios: dict[str, float] = {}
    encoded: dict[str, float] = {}
    levels = []
    for video in videos:
        background = find_background(video.subject, models, reader)
        if background is None:
            continue
        name = video.path.stem
        repeated = itertools.repeat(background.still, video.n_frames)
        still = _encode(folder / f"{name}-still.mp4", repeated, background, video.n_frames, models)
        reference = next(stream_frames(still, frames_per_second=RATE))
        motions[name], differences = _track_background(video.path, background, reference)
        still_differences = _track_background(still, background, reference)[1]
        ratios[name] = flicker_ratio(differences, still_differences)
        levels.append(float(differences.mean()))
        calm = _encode_calm(video, background, folder / f"{name}-calm.mp4", models)
        encoded[name] = flicker_ratio(_track_background(calm, background, reference)[1], still_differences)

    moved = "Displacement of corners of the background from the still picture, 95th percentile"
    changed = "Difference of neighboring frames in the background, relative to the still picture encoded as a video"
    due = "The same with a background that is static before encoding: the part caused by the encoder"
    shared: Any = {"inputs": "videos", "worst": max}
    flicker = mean_row("background_flicker", changed, ratios, "times", CALM, **shared)
    if levels:
        flicker = replace(flicker, note=f"{np.mean(levels):.3f} of 255 per frame; {flicker.note}")
    return [
        mean_row("background_motion", moved, motions, "px of the video", STILL, **shared),
        flicker,
        mean_row("background_encoded", due, encoded, "times", **shared),
    ]


def _track_background(path: Path, background: Background, reference: Image) -> tuple[float, np.ndarray]:
    """Measure motion and flicker of the background of a video.

    Motion is measured at corners, because on a smooth wall any motion explains the picture, and optical flow spreads
    the motion of the head over it. The reference is a frame of the encoded still picture, because compression displaces
    soft corners of the picture itself by some pixels.

    Returns:
        95th percentile of the displacement from the reference in pixels of the video, NaN without corners; mean
        differences of neighboring frames.
    """
    left, top, right, bottom = background.box
    to_video = np.array([(right - left) / SIDE, (bottom - top) / SIDE])
    still = cv2.cvtColor(background.crop_frame(reference), cv2.COLOR_RGB2GRAY)
    corners = _find_corners(still, background.mask)

    lengths, differences = [], []
    last: Image | None = None
    for number, frame in enumerate(stream_frames(path, frames_per_second=RATE)):
        crop = background.crop_frame(frame)
        if last is not None:
            differences.append(float(cv2.absdiff(crop, last)[background.mask].mean()))
        if number % FLOW_FRAMES == 0 and len(corners):
            gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
            tracked, status, _ = cv2.calcOpticalFlowPyrLK(
                still, gray, corners, corners.copy(), winSize=(WINDOW, WINDOW), maxLevel=1
            )
            motion = (tracked - corners)[status[:, 0] == 1, 0] * to_video
            lengths.append(np.linalg.norm(motion, axis=-1))
        last = crop
    motion = float(np.percentile(np.concatenate(lengths), 95)) if lengths else float("nan")
    return motion, np.array(differences)


def _find_corners(still: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return corners of the background that can be tracked, (n, 1, 2) float32; none if there are too few."""
    sharp = cv2.cornerMinEigenVal(still, WINDOW) > CORNER_STRENGTH
    allowed = (mask & sharp).astype(np.uint8) * 255
    corners = cv2.goodFeaturesToTrack(still, MAX_CORNERS, 1e-6, WINDOW / 2, mask=allowed, blockSize=WINDOW)
    if corners is None or len(corners) < MIN_CORNERS:
        return np.zeros((0, 1, 2), np.float32)
    return corners


def _encode_calm(video: MeasuredVideo, background: Background, path: Path, models: Models) -> Path:
    """Encode the head of a video in front of a static background."""
    left, top, right, bottom = background.box
    moving = np.zeros(background.still.shape[:2], bool)
    mask = cv2.resize(background.mask.astype(np.uint8), (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    moving[top:bottom, left:right] = mask == 0
    frames = stream_frames(video.path, frames_per_second=RATE)
    calm = (np.where(moving[..., None], frame, background.still) for frame in frames)
    return _encode(path, calm, background, video.n_frames, models)


def _encode(path: Path, frames: Iterable[Image], background: Background, n_frames: int, models: Models) -> Path:
    height, width = background.still.shape[:2]
    with VideoWriter(
        path, width=width, height=height, frames_per_second=RATE, n_frames=n_frames, config=models.config.encoding
    ) as writer:
        for frame in frames:
            writer.write(frame[None])
    return path
