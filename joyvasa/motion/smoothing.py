"""Smoothing of motion over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from joyvasa.errors import ConfigError
from joyvasa.motion.sequence import MotionSequence

SmoothingMethod = Literal["none", "ema", "median", "mean", "kalman"]


@dataclass(frozen=True)
class SmoothingConfig:
    """Options of smoothing; the defaults are JoyVASA's, and LivePortrait's for `kalman`.

    `ema`, `median` and `mean` smooth the pose (scale, translation, pitch, yaw, roll) but not the expression, which
    carries the speech. `kalman` also smooths the expression, as in LivePortrait: its gain is close to one, so it
    removes jitter and preserves lip closures. The rotation is computed from the smoothed angles.

    Raises:
        ConfigError: `smoothing_config`.
    """

    method: SmoothingMethod = "ema"  # filter of the head motion; `kalman` also filters the expression
    ema_weight: float = 0.01  # weight of a new frame for `ema`; larger values give livelier heads
    median_frames: int = 3  # window of `median`: the frame and those before it
    mean_frames: int = 10  # window of `mean`: the frame and those before it
    kalman_process_variance: float = 1e-5  # variance of the change between frames, for `kalman`
    kalman_observation_variance: float = 3e-7  # variance of the noise in a frame, for `kalman`

    def __post_init__(self) -> None:
        checks = {
            "method": (self.method in ("none", "ema", "median", "mean", "kalman"), "none, ema, median, mean or kalman"),
            "ema_weight": (0 < self.ema_weight <= 1, "above 0 and at most 1"),
            "median_frames": (self.median_frames >= 1, "at least 1"),
            "mean_frames": (self.mean_frames >= 1, "at least 1"),
            "kalman_process_variance": (self.kalman_process_variance > 0, "above 0"),
            "kalman_observation_variance": (self.kalman_observation_variance > 0, "above 0"),
        }
        for name, (valid, expected) in checks.items():
            if not valid:
                raise ConfigError(
                    "smoothing_config", f"smoothing: {name} is {getattr(self, name)!r}; expected {expected}: correct it"
                )


def smooth_motion(motion: MotionSequence, config: SmoothingConfig) -> MotionSequence:
    """Smooth a motion as described in `SmoothingConfig`."""
    if config.method == "none" or not len(motion):
        return motion
    pose, expression = motion.pose.numpy().astype(np.float64), motion.expression
    if config.method == "ema":
        pose = moving_average(pose, config.ema_weight)
    elif config.method == "median":
        pose = trailing_median(pose, config.median_frames)
    elif config.method == "mean":
        pose = trailing_mean(pose, config.mean_frames)
    else:
        variances = config.kalman_process_variance, config.kalman_observation_variance
        pose = kalman_smooth(pose, *variances)
        expression = torch.from_numpy(kalman_smooth(expression.numpy().astype(np.float64), *variances))
    return MotionSequence.from_pose(expression, torch.from_numpy(pose), motion.frames_per_second)


def moving_average(values: np.ndarray, weight: float) -> np.ndarray:
    """Compute the exponential moving average y_t = weight x_t + (1 - weight) y_(t-1), y_0 = x_0, (T, ...), float64."""
    smoothed = np.empty_like(values)
    last = values[0]
    for frame, value in enumerate(values):  # scipy.signal takes longer to import than long motions to loop over
        smoothed[frame] = last = weight * value + (1 - weight) * last
    return smoothed


def trailing_median(values: np.ndarray, n_frames: int) -> np.ndarray:
    """Compute the median of each frame (T, ...) and the `n_frames - 1` before it, fewer at the start."""
    return np.nanmedian(_trailing(values, n_frames), axis=-1)


def trailing_mean(values: np.ndarray, n_frames: int) -> np.ndarray:
    """Compute the mean of each frame (T, ...) and the `n_frames - 1` before it, fewer at the start."""
    return np.nanmean(_trailing(values, n_frames), axis=-1)


def _trailing(values: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the window of each frame along a new last axis, NaN before the start, shape (T, ..., n_frames)."""
    missing = np.full((n_frames - 1, *values.shape[1:]), np.nan)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([missing, values]), n_frames, axis=0)


def kalman_smooth(values: np.ndarray, process_variance: float, observation_variance: float) -> np.ndarray:
    """Apply the Kalman smoother of a random walk with observation noise (Rauch, Tung and Striebel 1965).

    All coordinates of the series, float64 (T, ...), share the variances of a step and of the noise, so gains are
    scalars. The initial state is the first frame with variance 1.
    """
    filtered, variances = np.empty_like(values), np.empty(len(values))
    mean, variance = values[0], 1.0
    for frame, observed in enumerate(values):
        gain = variance / (variance + observation_variance)
        mean = mean + gain * (observed - mean)
        filtered[frame], variances[frame] = mean, (1 - gain) * variance
        variance = variances[frame] + process_variance

    smoothed = filtered.copy()
    for frame in range(len(values) - 2, -1, -1):
        gain = variances[frame] / (variances[frame] + process_variance)
        smoothed[frame] += gain * (smoothed[frame + 1] - filtered[frame])
    return smoothed
