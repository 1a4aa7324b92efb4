"""Stretches of a recording become clips: cut out, and read by the motion extractor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.errors import InputError
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.geometry import warp
from joyvasa.faces.square import Square, crop_matrix
from joyvasa.media.image import Image
from joyvasa.media.video_reader import VideoInfo
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.sequence import MotionSequence
from joyvasa.networks.motion_extractor import MotionExtractor
from joyvasa.rendering.renderer import to_network_input
from joyvasa.runtime.device import Precision, autocast
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.training.clip_config import FRAMES_PER_SECOND, SAMPLES_PER_FRAME
from joyvasa.training.clips import ClipRecord, Split, to_pcm16
from joyvasa.training.media_stream import FrameStream, SoundStream
from joyvasa.training.segments import Segment

CROP_SIDE = 512  # pixels, before the crop shrinks to what the network takes


class ClipExtractor:
    """Reads the motion of clips.

    Args:
        network: the motion extractor, on `device`.
        input_size: side of the pictures that it takes, pixels.
        device: to compute on.
        precision: of the computation.
        batch_frames: frames that the network sees at once.
        landmarks: detector that gives 203 landmarks, by which the openings of eyes and lips are measured; None leaves
            them out.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        input_size: int,
        device: torch.device,
        precision: Precision,
        batch_frames: int,
        landmarks: FaceDetector | None = None,
    ) -> None:
        self._network = network
        self._input_size = input_size
        self._device = device
        self._precision: Precision = precision
        self._batch_frames = batch_frames
        self._landmarks = landmarks

    def clips(
        self,
        path: Path,
        info: VideoInfo,
        stretches: Sequence[Segment],
        *,
        delay_s: float,
        names: Sequence[str],
        source: str,
        split: Split,
    ) -> Iterator[ClipRecord | InputError]:
        """The clips of a recording, one after the other; the motion of one is in memory at a time.

        Args:
            path: of the recording.
            info: of `probe_video`.
            stretches: in order, none rejected.
            delay_s: of `sound_delay_s`.
            names: ids of the clips.
            source: hash of the recording.
            split: of the recording.

        Yields:
            a clip for each stretch, or why it gives none (`motion_not_finite`).

        Raises:
            InputError: the recording cannot be read to the end of the last stretch.
        """
        picture, sound = FrameStream(path, info), SoundStream(path, delay_s)
        for stretch, name in zip(stretches, names, strict=True):
            assert stretch.square is not None, "not rejected"
            motion, ratios = self._motion(picture.take(stretch.first, stretch.n_frames), stretch.square)
            sound.skip(stretch.first * SAMPLES_PER_FRAME - sound.position)
            heard = sound.take(stretch.n_frames * SAMPLES_PER_FRAME)
            if not (motion.pose.isfinite().all() and motion.expression.isfinite().all()):
                found = f"{stretch.place(path.name)}: the motion extractor gave NaN or infinity in {self._precision}"
                yield InputError("motion_not_finite", f"{found}; expected finite numbers: use precision fp32")
                continue
            yield ClipRecord(
                clip_id=name,
                source=source,
                split=split,
                start_s=stretch.start_s,
                motion=motion,
                sound=to_pcm16(heard),
                eye_ratio=None if ratios is None else ratios[:, :2],
                lip_ratio=None if ratios is None else ratios[:, 2:],
            )

    def _motion(self, frames: Iterable[Image], square: Square) -> tuple[MotionSequence, np.ndarray | None]:
        """Motion, and the openings of the left eye, the right eye and the lips, float32 (T, 3)."""
        matrix = crop_matrix(square, CROP_SIDE, rotate=False)
        parts: list[tuple[Tensor, Tensor]] = []  # expression and pose
        ratios: list[tuple[float, float, float]] = []
        waiting: list[Tensor] = []
        for frame in frames:
            crop = warp(frame, matrix, (CROP_SIDE, CROP_SIDE))
            waiting.append(to_network_input(crop, self._input_size))
            if self._landmarks:
                ratios.append(_openings(self._landmarks, crop))
            if len(waiting) == self._batch_frames:
                parts.append(self._read(waiting))
                waiting = []
        if waiting:
            parts.append(self._read(waiting))
        expression, pose = (torch.cat(columns) for columns in zip(*parts, strict=True))
        motion = MotionSequence.from_pose(expression, pose, FRAMES_PER_SECOND)
        return motion, _filled(np.array(ratios, np.float32)) if ratios else None

    @torch.inference_mode()
    def _read(self, pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        with autocast(self._device, self._precision):
            info = KeypointInfo.from_heads(self._network(torch.cat(list(pictures)).to(self._device)))
        pose = torch.cat([info.scale, info.translation, info.pitch, info.yaw, info.roll], dim=1)
        return info.expression.float().cpu(), pose.float().cpu()


def count_keypoints(network: nn.Module) -> int:
    """How many keypoints a motion extractor gives."""
    return cast(MotionExtractor | CompactMotionExtractor, network).n_keypoints


def _openings(detector: FaceDetector, crop: Image) -> tuple[float, float, float]:
    """Of the largest face; NaN where none is found."""
    face = next(iter(detector.detect(crop)), None)
    if face is None or face.eye_ratios is None or face.lip_ratio is None:
        return (np.nan, np.nan, np.nan)
    return (*face.eye_ratios, face.lip_ratio)


def _filled(ratios: np.ndarray) -> np.ndarray | None:
    """Openings (T, 3), where a face was missed between those of the neighbours; None if it was in more than half."""
    known = np.flatnonzero(np.isfinite(ratios).all(axis=1))
    if 2 * len(known) < len(ratios):
        return None
    frames = np.arange(len(ratios))
    return np.stack([np.interp(frames, known, column[known]) for column in ratios.T], axis=1).astype(np.float32)
