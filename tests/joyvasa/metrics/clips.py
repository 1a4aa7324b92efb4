"""Clips and motions for tests of metrics, and metrics run over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from joyvasa.metrics.base import Clip, Metric
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from joyvasa.motion.sequence import MotionSequence

EVERY_FRAME = 10**6


def clip_of(frames: np.ndarray, **known: Any) -> Clip:
    """A clip of these frames without a file; the face fills the frame."""
    height, width = frames.shape[1:3]
    values = {"frames_per_second": 25.0, "has_sound": False, "face_box": (0, 0, width, height), **known}
    return Clip(video=Path("none.mp4"), width=width, height=height, **values)


def measured(metric: Metric, clip: Clip, frames: np.ndarray, *, batch: int = EVERY_FRAME) -> dict[str, Any]:
    """The numbers of one metric, or the code of the reason."""
    batches = (frames[at : at + batch] for at in range(0, len(frames), batch))
    scores = measure_clip(clip, [metric], batches, explain=explain_exception)
    return {**scores.values, **{name: reason.code for name, reason in scores.reasons.items()}}


def noise(n_frames: int, *, height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Frames with structure that moves: blurred noise that is shifted a little from each frame to the next."""
    base = np.random.default_rng(seed).integers(0, 256, (height, width * 2, 3), dtype=np.uint8)
    base = cv2.GaussianBlur(base, (0, 0), 1)
    base = cv2.normalize(base, None, 20, 235, cv2.NORM_MINMAX)
    return np.stack([np.roll(base, at * 3, axis=1)[:, :width] for at in range(n_frames)])


def motion_of(n_frames: int = 100, *, n_keypoints: int = 21, rate: float = 25.0, **tensors: Any) -> MotionSequence:
    """A motion that stands still but for what is given."""
    zero = torch.zeros(n_frames, 1)
    values = {
        "expression": torch.zeros(n_frames, n_keypoints, 3),
        "scale": zero + 1,
        "translation": torch.zeros(n_frames, 3),
        "pitch": zero,
        "yaw": zero,
        "roll": zero,
    }
    given = {name: torch.as_tensor(np.asarray(value), dtype=torch.float32) for name, value in tensors.items()}
    return MotionSequence(**{**values, **given}, frames_per_second=rate)


def speaking(opening: np.ndarray, rate: float = 25.0) -> MotionSequence:
    """A motion whose mouth opens like this."""
    from joyvasa.metrics.support.motion_readout import LIVEPORTRAIT, LOWER_LIP

    expression = np.zeros((len(opening), 21, 3))
    expression[:, LOWER_LIP, 1] = (opening - LIVEPORTRAIT.mouth_intercept) / LIVEPORTRAIT.mouth_slope
    return motion_of(len(opening), rate=rate, expression=expression)
