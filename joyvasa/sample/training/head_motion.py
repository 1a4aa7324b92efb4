"""Random motion of a speaker's head, eyelids and brows, stronger in loud passages.

Amplitudes were measured in eight talking videos with the face mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joyvasa.sample.training.visemes import RATE

SWAY_DEGREES = (2.2, 3.2, 1.6)  # pitch, yaw, roll
SLOW_S, FAST_S = 0.55, 0.22  # standard deviations of the Gaussians that smooth the noise
DRIFT = 0.012  # of position (half sides of the crop) and of log size
CLOSING_FRAMES, OPENING_FRAMES = 2.2, 4.0  # duration of a blink
MIN_BLINK_S, MEAN_EXTRA_S = 0.4, 1.3  # between blinks: more often than people, because diffusion drops some
OVERSHOOT = 1.15  # keeps lids shut for one or two frames


@dataclass(frozen=True)
class HeadMotion:
    """Motion of a head without its mouth, T frames at 25 frames per second."""

    pose: np.ndarray  # pitch, yaw and roll in degrees, (T, 3)
    shift: np.ndarray  # x and y in half sides of the crop, (T, 2)
    growth: np.ndarray  # logarithm of the size, (T,)
    blink: np.ndarray  # closure of the lids, 0 (open) to 1 (shut), (T,)
    brow: np.ndarray  # height of the brows above rest, in eye distances, (T,)


def draw_head_motion(loudness: np.ndarray, r: np.random.Generator) -> HeadMotion:
    """Draw the motion of a speaking head.

    Args:
        loudness: loudness of the speech, 0 to about 1, (T,).
        r: random generator.
    """
    n = len(loudness)
    stress = np.convolve(loudness, np.ones(8) / 8, "same")
    pose = np.stack(
        [size * (0.75 * _noise(n, SLOW_S, r) + 0.5 * _noise(n, FAST_S, r) * (0.3 + stress)) for size in SWAY_DEGREES],
        1,
    )
    pose[:, 0] += 2.4 * (stress - stress.mean())  # nods on stress
    return HeadMotion(
        pose=pose,
        shift=DRIFT * np.stack([_noise(n, 0.8, r) for _ in range(2)], 1),
        growth=DRIFT * _noise(n, 0.9, r),
        blink=_draw_blinks(n, r),
        brow=0.03 * _noise(n, 0.35, r) * (0.3 + stress) + 0.02 * (stress - 0.3),
    )


def _draw_blinks(n_frames: int, r: np.random.Generator) -> np.ndarray:
    frames, closure = np.arange(n_frames), np.zeros(n_frames)
    at_s = r.uniform(0.2, 2.5)
    while at_s * RATE < n_frames:
        offset = frames - at_s * RATE
        blink = np.where(offset < 0, 1 + offset / CLOSING_FRAMES, 1 - (offset - 1) / OPENING_FRAMES)
        closure = np.maximum(closure, blink.clip(0, 1))
        at_s += MIN_BLINK_S + r.gamma(4, MEAN_EXTRA_S / 4)
    return (OVERSHOOT * closure).clip(0, 1)


def _noise(n_frames: int, sigma_s: float, r: np.random.Generator) -> np.ndarray:
    """Draw smooth Gaussian noise of standard deviation 1."""
    reach = int(4 * sigma_s * RATE)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma_s * RATE)) ** 2)
    noise = r.normal(0, 1, n_frames + 2 * reach)
    return np.convolve(noise, weights / np.sqrt((weights**2).sum()), "valid")
