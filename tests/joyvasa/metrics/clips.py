"""Clips, motions and helpers for tests of metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from joyvasa.metrics.base import Clip, Metric
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from joyvasa.motion.sequence import MotionSequence

ALL_FRAMES = 10**6


def make_clip(frames: np.ndarray, **fields: Any) -> Clip:
    """Return a clip of frames without a file; the face fills the frame."""
    height, width = frames.shape[1:3]
    values = {"frames_per_second": 25.0, "has_sound": False, "face_box": (0, 0, width, height), **fields}
    return Clip(video=Path("none.mp4"), width=width, height=height, **values)


def measure_values(metric: Metric, clip: Clip, frames: np.ndarray, *, batch: int = ALL_FRAMES) -> dict[str, Any]:
    """Return the values of one metric, or the code of the reason for a missing one."""
    batches = (frames[start : start + batch] for start in range(0, len(frames), batch))
    scores = measure_clip(clip, [metric], batches, explain=explain_exception)
    return {**scores.values, **{name: reason.code for name, reason in scores.reasons.items()}}


def moving_noise(n_frames: int, *, height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Return frames of blurred noise that moves by three pixels per frame."""
    base = np.random.default_rng(seed).integers(0, 256, (height, width * 2, 3), dtype=np.uint8)
    base = cv2.GaussianBlur(base, (0, 0), 1)
    base = cv2.normalize(base, None, 20, 235, cv2.NORM_MINMAX)
    return np.stack([np.roll(base, shift * 3, axis=1)[:, :width] for shift in range(n_frames)])


def make_motion(n_frames: int = 100, *, n_keypoints: int = 21, rate: float = 25.0, **tensors: Any) -> MotionSequence:
    """Return a motion without movement except for the given tensors."""
    zero = torch.zeros(n_frames, 1)
    values = {
        "expression": torch.zeros(n_frames, n_keypoints, 3),
        "scale": zero + 1,
        "translation": torch.zeros(n_frames, 3),
        "pitch": zero,
        "yaw": zero,
        "roll": zero,
    }
    changes = {name: torch.as_tensor(np.asarray(value), dtype=torch.float32) for name, value in tensors.items()}
    return MotionSequence(**{**values, **changes}, frames_per_second=rate)


def make_speaking_motion(opening: np.ndarray, rate: float = 25.0) -> MotionSequence:
    """Return a motion with a given mouth opening."""
    from joyvasa.motion.openings import LIVEPORTRAIT, LOWER_LIP

    expression = np.zeros((len(opening), 21, 3))
    expression[:, LOWER_LIP, 1] = (opening - LIVEPORTRAIT.mouth_intercept) / LIVEPORTRAIT.mouth_slope
    return make_motion(len(opening), rate=rate, expression=expression)


def syllables(n_values: int, seed: int = 0) -> np.ndarray:
    """Return a series with about four irregular peaks per second."""
    steps = np.random.default_rng(seed).standard_normal(n_values + 20)
    return np.convolve(steps, np.hanning(6), "valid")[:n_values]
