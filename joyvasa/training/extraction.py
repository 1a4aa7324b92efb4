"""Extraction of clips: the motion and the sound of the segments of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from joyvasa.errors import InputError
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.geometry import warp_image
from joyvasa.faces.square import Square, compute_crop_matrix
from joyvasa.media.image import Image
from joyvasa.media.video_reader import VideoInfo
from joyvasa.motion.extraction import CropMotionReader
from joyvasa.motion.sequence import MotionSequence
from joyvasa.networks.motion_extractor import MotionExtractor
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.training.clip_config import FRAMES_PER_SECOND, SAMPLES_PER_FRAME
from joyvasa.training.clips import ClipRecord, Split, to_pcm16
from joyvasa.training.media_stream import FrameStream, SoundStream
from joyvasa.training.segments import Segment

CROP_SIDE = 512  # pixels of the crop, which is then resized for the network


@dataclass(frozen=True, eq=False)
class ClipExtractor:
    """Extracts clips from recordings."""

    reader: CropMotionReader  # reader of the motion in crops
    landmarks: FaceDetector | None = None  # detector that measures the openness of eyes and lips; None to skip it

    def extract_clips(
        self,
        path: Path,
        info: VideoInfo,
        segments: Sequence[Segment],
        *,
        names: Sequence[str],
        source: str,
        split: Split,
    ) -> Iterator[ClipRecord | InputError]:
        """Yield the clips of segments of a recording, in order; only one is in memory at a time.

        Yields:
            A clip for each segment, or the error that prevents it (`motion_not_finite`).

        Raises:
            InputError: the recording cannot be read to the end of the last segment.
        """
        frames, sound = FrameStream(path, info), SoundStream(path)

        for segment, name in zip(segments, names, strict=True):
            assert segment.square is not None, "not rejected"
            motion, ratios = self._extract_motion(frames.read(segment.first, segment.n_frames), segment.square)
            samples = sound.read(segment.first * SAMPLES_PER_FRAME, segment.n_frames * SAMPLES_PER_FRAME)

            if not (motion.pose.isfinite().all() and motion.expression.isfinite().all()):
                problem = f"{segment.describe(path.name)}: motion has NaN or infinity"
                yield InputError("motion_not_finite", f"{problem}; expected finite numbers: use precision fp32")
                continue
            yield ClipRecord(
                clip_id=name,
                source=source,
                split=split,
                start_s=segment.start_s,
                motion=motion,
                sound=to_pcm16(samples),
                eye_ratio=None if ratios is None else ratios[:, :2],
                lip_ratio=None if ratios is None else ratios[:, 2:],
            )

    def _extract_motion(self, frames: Iterable[Image], square: Square) -> tuple[MotionSequence, np.ndarray | None]:
        """Return the motion, and the openness of the left eye, the right eye and the lips, float32 (T, 3)."""
        matrix = compute_crop_matrix(square, CROP_SIDE, rotate=False)
        ratios: list[tuple[float, float, float]] = []

        def crop_frames() -> Iterator[Image]:
            for frame in frames:
                crop = warp_image(frame, matrix, (CROP_SIDE, CROP_SIDE))
                if self.landmarks:
                    ratios.append(_measure_openness(self.landmarks, crop))
                yield crop

        motion = self.reader.read(crop_frames(), FRAMES_PER_SECOND)
        return motion, _interpolate_gaps(np.array(ratios, np.float32)) if ratios else None


def count_keypoints(network: nn.Module) -> int:
    """Return the number of keypoints that a motion extractor predicts."""
    return cast(MotionExtractor | CompactMotionExtractor, network).n_keypoints


def _measure_openness(detector: FaceDetector, crop: Image) -> tuple[float, float, float]:
    """Return the openness of eyes and lips of the largest face; NaN without a face."""
    face = next(iter(detector.detect(crop)), None)
    if face is None or face.eye_ratios is None or face.lip_ratio is None:
        return (np.nan, np.nan, np.nan)
    return (*face.eye_ratios, face.lip_ratio)


def _interpolate_gaps(ratios: np.ndarray) -> np.ndarray | None:
    """Interpolate ratios (T, 3) over frames that have NaN; return None if more than half of the frames have."""
    valid = np.flatnonzero(np.isfinite(ratios).all(axis=1))
    if 2 * len(valid) < len(ratios):
        return None
    frames = np.arange(len(ratios))
    return np.stack([np.interp(frames, valid, column[valid]) for column in ratios.T], axis=1).astype(np.float32)
