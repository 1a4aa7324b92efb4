"""Videos as the source: the face of every frame is rendered anew, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from joyvasa.errors import ConfigError, InputWarning
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.following import FacePath
from joyvasa.faces.geometry import CropConfig, crop_square
from joyvasa.faces.video import FaceFollower, Progress, VideoFrames
from joyvasa.media.ffmpeg import holds_moving_pictures
from joyvasa.media.image import is_image
from joyvasa.media.video_reader import probe_video
from joyvasa.motion.driving import DrivingRegion, PortraitDriver
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.timing import resample_motion
from joyvasa.rendering.compose import FrameComposer
from joyvasa.rendering.portrait import FaceConfig, Picture, PictureConfig, Portrait, PortraitEncoder
from joyvasa.rendering.renderer import Renderer
from joyvasa.runtime.device import Precision, autocast

NO_LANDMARKS = np.zeros((0, 2), np.float32)


@dataclass(frozen=True)
class SourceVideoConfig:
    """Options of videos whose face is animated."""

    # what follows the motion; the rest of the face keeps its own motion, and so does the head, except in `all` and
    # `pose`, where the motion is added to its own. See `driving.region`
    region: DrivingRegion = "lip"

    def __post_init__(self) -> None:
        if self.region not in (choices := get_args(DrivingRegion)):
            found = f"source_video.region is {self.region!r}"
            raise ConfigError("config_invalid", f"{found}; expected one of {', '.join(choices)}")


@dataclass(frozen=True, eq=False)
class SourceVideo:
    """A video whose face is animated."""

    frames: VideoFrames  # frames of the video
    face: FacePath  # crop of the face in each frame
    warnings: tuple[InputWarning, ...] = ()  # warnings for the user

    @property
    def frames_per_second(self) -> float:
        """Frame rate of the video, which is that of the result."""
        return float(self.frames.rate)

    def pictures(self, crop: CropConfig, *, whole: bool) -> Iterator[Picture]:
        """Yield each frame with the crop of its face, also where the face is not visible.

        `whole` states that the frames are face crops already.
        """
        for frame, square in zip(self.frames, self.face.squares(), strict=False):
            cut = None if whole else crop_square(frame, square, crop.size, landmarks=NO_LANDMARKS, rotate=False)
            yield Picture(frame, cut)

    def fit_motion(self, motion: MotionSequence) -> tuple[MotionSequence, tuple[InputWarning, ...]]:
        """Return a motion at the rate of the video and at most as long, and a warning if the motion was longer."""
        fitted = resample_motion(motion, self.frames_per_second)
        n_frames = len(self.face)
        if len(fitted) <= n_frames + 1:  # lengths are rounded to frames
            return fitted[:n_frames], ()
        lengths = [n / self.frames_per_second for n in (n_frames, len(fitted))]
        sentence = f"{self.frames.path}: {lengths[0]:.2f} s of video for {lengths[1]:.2f} s of motion"
        warning = InputWarning("source_video_short", f"{sentence}; the result ends with the video: use a longer one")
        return fitted[:n_frames], (warning,)

    def first_picture(self, crop: CropConfig, *, whole: bool) -> Picture:
        """Return the first frame that shows the face."""
        first = int(np.flatnonzero(self.face.visible)[0])
        return next(itertools.islice(self.pictures(crop, whole=whole), first, None))


def is_source_video(path: str | Path) -> bool:
    """Return whether a file is a video and not a picture; False for files that are neither."""
    path = Path(path)
    return path.is_file() and not is_image(path) and holds_moving_pictures(path)


def open_source_video(
    path: Path,
    detector: FaceDetector | None,
    *,
    picture: PictureConfig,
    face: FaceConfig,
    crop: CropConfig,
    on_progress: Progress | None = None,
) -> SourceVideo:
    """Follow the face of a video that is to be animated; without a detector, the frames are face crops.

    Raises:
        InputError: see `FaceFollower.follow`.
    """
    info = probe_video(path)
    frames = VideoFrames(path, info, info.frames_per_second, *picture.limit_size(info.width, info.height))
    follower = FaceFollower(
        detector=detector,
        index=face.index,
        option="face.index",
        min_side=face.min_side,
        scale=crop.scale,
        vx_ratio=crop.vx_ratio,
        vy_ratio=crop.vy_ratio,
    )
    followed = follower.follow(frames, on_progress)
    warnings = follower.describe(
        frames, followed, hidden="these frames stay as they are", cut="the face is followed in each scene"
    )
    return SourceVideo(frames, followed, warnings)


@dataclass(frozen=True, eq=False)
class SourceVideoRenderer:
    """Renders the frames of a source video with the motion of another."""

    encoder: PortraitEncoder  # encoder of pictures
    renderer: Renderer  # renderer of crops
    build_driver: Callable[[KeypointInfo], PortraitDriver]  # function from the keypoints of frames to their driver
    build_composer: Callable[[Picture], FrameComposer]  # function from a picture to the composer of its frame
    crop: CropConfig  # size of the crops
    whole: bool  # whether the frames are face crops already
    batch_frames: int  # frames rendered at once
    device: torch.device  # device of the networks
    precision: Precision  # precision of the computation

    def render(self, source: SourceVideo, motion: MotionSequence) -> Iterator[np.ndarray]:
        """Yield the frames of the motion in batches; those in which the source shows no face stay as they are.

        Yields:
            Frames, uint8 RGB, shape (batch, height, width, 3).
        """
        pictures = itertools.islice(source.pictures(self.crop, whole=self.whole), len(motion))
        for start, batch in _batches(pictures, self.batch_frames):
            yield np.concatenate(list(self._render_batch(batch, source, motion, start)))

    def _render_batch(
        self, pictures: list[Picture], source: SourceVideo, motion: MotionSequence, start: int
    ) -> Iterator[np.ndarray]:
        stop = start + len(pictures)
        portraits = self.encoder.encode(pictures)
        driver = self.build_driver(_join_keypoints(portraits))
        features = torch.cat([portrait.feature for portrait in portraits])
        keypoints = driver.keypoints(motion[start:stop])
        with autocast(self.device, self.precision):
            crops = self.renderer.render(features, driver.source_keypoints, keypoints, moving_portrait=True)
        for number, picture in enumerate(pictures):
            composer = self.build_composer(picture)
            shown = source.face.visible[start + number]
            yield composer.frames(crops[number : number + 1]) if shown else composer.original_frame()


def _batches(pictures: Iterator[Picture], size: int) -> Iterator[tuple[int, list[Picture]]]:
    """Yield the number of the first picture of each batch, and the batch."""
    start = 0
    while batch := list(itertools.islice(pictures, size)):
        yield start, batch
        start += len(batch)


def _join_keypoints(portraits: list[Portrait]) -> KeypointInfo:
    names = KeypointInfo.__dataclass_fields__
    return KeypointInfo(
        **{name: torch.cat([getattr(portrait.keypoints, name) for portrait in portraits]) for name in names}
    )
