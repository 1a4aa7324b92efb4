"""Motion from videos: follow one face through a driving video and read its pose and expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from joyvasa.errors import ConfigError, InputError, InputWarning
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.following import FacePath
from joyvasa.faces.geometry import warp_image
from joyvasa.faces.square import compute_crop_matrix
from joyvasa.faces.tracking import CROP_SCALE, CROP_VY
from joyvasa.faces.video import FaceFollower, Progress, VideoFrames
from joyvasa.media.audio import probe_audio
from joyvasa.media.ffmpeg import holds_moving_pictures
from joyvasa.media.image import Image
from joyvasa.media.video_reader import probe_video
from joyvasa.motion.extraction import CropMotionReader
from joyvasa.motion.file import MotionFile, is_motion_file
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import SmoothingConfig, smooth_motion
from joyvasa.motion.timing import resample_motion

CROP_SIDE = 512  # pixels of the crop, which is then resized for the network
SHIFTS = (-0.012, 0.012)  # to the right and down, of the crops of a frame whose readings are averaged, in sides


@dataclass(frozen=True)
class DrivingVideoConfig:
    """Options of driving videos. The crop has LivePortrait's published values.

    Raises:
        ConfigError: `config_invalid`.
    """

    crop: bool = True  # crop the face; if false, the frames are face crops already
    crop_scale: float = CROP_SCALE  # side of the crop relative to the larger side of the box of the landmarks
    crop_vx_ratio: float = 0.0  # shift of the crop along the eyes, in sides of the crop
    crop_vy_ratio: float = CROP_VY  # shift of the crop towards the mouth, in sides of the crop
    # read each frame twice, with crops shifted a little, and use the mean; false reads it once, as LivePortrait does;
    # no effect if `crop` is false
    steady: bool = True
    face_index: int = 0  # face to follow if the video shows several; 0 is the largest when it first appears
    sound: bool = True  # use the sound of the video if no recording is given
    # filter of the motion; `kalman` with a larger `kalman_observation_variance` is LivePortrait's
    # `driving_smooth_observation_variance`
    smoothing: SmoothingConfig = field(default_factory=lambda: SmoothingConfig(method="none"))

    def __post_init__(self) -> None:
        ranges = {
            "crop_scale": (0 < self.crop_scale <= 10, "above 0, at most 10"),
            "crop_vx_ratio": (-1 <= self.crop_vx_ratio <= 1, "-1 to 1"),
            "crop_vy_ratio": (-1 <= self.crop_vy_ratio <= 1, "-1 to 1"),
            "face_index": (self.face_index >= 0, "0 or more"),
        }
        for name, (valid, expected) in ranges.items():
            if not valid:
                raise ConfigError(
                    "config_invalid", f"driving_video.{name} is {getattr(self, name)}; expected {expected}"
                )


@dataclass(frozen=True)
class DrivingMotion:
    """A motion from a file or a video."""

    file: MotionFile  # motion and provenance
    warnings: tuple[InputWarning, ...] = ()  # `face_lost`, `scene_change`, `several_faces`, and problems of the sound
    sound_channels: int = 0  # number of channels of the sound of the video; 0 if there is none, or it is not used


def is_video(path: str | Path) -> bool:
    """Return whether a file is a video rather than a motion file; False for files that are neither."""
    path = Path(path)
    return path.is_file() and not is_motion_file(path) and holds_moving_pictures(path)


class DrivingVideoReader:
    """Reads motion from videos in which one face can be followed.

    Args:
        detector: face detector; None if frames are face crops.
        reader: reader of the motion in crops.
        config: options of driving videos.
        frames_per_second: frame rate of the motion.
        min_side: smaller faces are ignored, pixels.
        provenance: origin of the networks, stored with each motion.
    """

    def __init__(
        self,
        detector: FaceDetector | None,
        reader: CropMotionReader,
        config: DrivingVideoConfig,
        *,
        frames_per_second: float,
        min_side: int,
        provenance: Mapping[str, str],
    ) -> None:
        self._follower = FaceFollower(
            detector=detector,
            index=config.face_index,
            option="driving_video.face_index",
            min_side=min_side,
            scale=config.crop_scale,
            vx_ratio=config.crop_vx_ratio,
            vy_ratio=config.crop_vy_ratio,
        )
        self._reader = reader
        self._config = config
        self._shifts = SHIFTS if config.crop and config.steady else (0.0,)
        self._frames_per_second = frames_per_second
        self._provenance = provenance

    def read(self, path: str | Path, on_progress: Progress | None = None) -> DrivingMotion:
        """Read the motion of a video, which is decoded twice: to follow the face, and to read its motion.

        Frames without the face get a motion that is interpolated between those before and after.

        Raises:
            InputError: see `FaceFollower.follow`; `motion_not_finite`.
        """
        path = Path(path)
        info = probe_video(path)
        rate = _choose_rate(info.frames_per_second, self._frames_per_second)
        frames = VideoFrames(path, info, rate, info.width, info.height)
        face = self._follower.follow(frames, on_progress)

        crops = _crop_frames(frames, face, self._shifts, on_progress)
        motion = _average_readings(self._reader.read(crops, float(rate)), len(self._shifts))
        if len(motion) != len(face):
            found = f"{path}: {len(motion)} frames, but {len(face)} before"
            raise InputError("video_unreadable", f"{found}; expected the same file: do not change it meanwhile")
        if not (motion.pose.isfinite().all() and motion.expression.isfinite().all()):
            sentence = f"{path}: motion has NaN or infinity; expected finite numbers: use precision fp32"
            raise InputError("motion_not_finite", sentence)
        motion = smooth_motion(_bridge_hidden(motion, face), self._config.smoothing)
        motion = resample_motion(motion, self._frames_per_second)
        provenance = {**self._provenance, "source": "video", "video": path.name}
        channels, sound_warnings = _probe_sound(path) if info.has_sound and self._config.sound else (0, ())
        warnings = self._follower.describe(
            frames,
            face,
            hidden="the motion is interpolated there",
            cut="the head jumps there: cut the video if that disturbs",
        )
        return DrivingMotion(MotionFile(motion, provenance), (*warnings, *sound_warnings), channels)


def _probe_sound(path: Path) -> tuple[int, tuple[InputWarning, ...]]:
    """Return the number of channels of the sound, and warnings; 0 if the sound cannot be used."""
    try:
        sound = probe_audio(path, allow_silence=True)
    except InputError as error:
        return 0, (InputWarning(error.code, f"{error.sentence}; the video has no sound"),)
    return sound.channels, sound.warnings


def _choose_rate(native: Fraction, wanted: float) -> Fraction:
    """Return the rate at which frames are read: that of the video, or the lowest whole fraction above `wanted`.

    The motion is then interpolated to the wanted rate, which is smoother than dropping or repeating frames.
    """
    return native / max(1, int(native / Fraction(wanted)))


def _crop_frames(
    frames: VideoFrames, face: FacePath, shifts: Sequence[float], on_progress: Progress | None
) -> Iterator[Image]:
    """Yield crops of the face of each frame, one for each shift in sides of the crop."""
    for number, (frame, square) in enumerate(zip(frames, face.squares(), strict=False)):
        for shift in shifts:
            x, y = (position + shift * square.side for position in square.center)
            matrix = compute_crop_matrix(replace(square, center=(x, y)), CROP_SIDE, rotate=False)
            yield warp_image(frame, matrix, (CROP_SIDE, CROP_SIDE))
        if on_progress:
            on_progress("video frames", number + 1, len(face))


def _average_readings(motion: MotionSequence, n_readings: int) -> MotionSequence:
    """Return the mean of the consecutive readings of each frame."""
    expression, pose = (part.unflatten(0, (-1, n_readings)).mean(1) for part in (motion.expression, motion.pose))
    return MotionSequence.from_pose(expression, pose, motion.frames_per_second)


def _bridge_hidden(motion: MotionSequence, face: FacePath) -> MotionSequence:
    """Interpolate the motion of the frames in which the face is not visible."""
    if face.visible.all():
        return motion
    frames, known = np.arange(len(motion)), np.flatnonzero(face.visible)

    def interpolate(values: torch.Tensor) -> torch.Tensor:
        columns = values.double().flatten(1).numpy()[known].T
        bridged = np.stack([np.interp(frames, known, column) for column in columns], axis=1)
        return torch.from_numpy(bridged).float().unflatten(1, values.shape[1:])

    return MotionSequence.from_pose(interpolate(motion.expression), interpolate(motion.pose), motion.frames_per_second)
