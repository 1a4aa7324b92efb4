"""What a speaker does beside the mouth: the head sways, eyes blink, brows rise; at random, and more in loud passages.

Sizes are those of eight talking videos followed with the face mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joyvasa.sample.training.visemes import RATE

SWAY_DEGREES = (2.2, 3.2, 1.6)  # pitch, yaw, roll
SLOW_S, QUICK_S = 0.55, 0.22  # standard deviations of the Gaussians that smooth the noise
DRIFT = 0.012  # of place and size, in half sides of the crop
CLOSING_FRAMES, OPENING_FRAMES = 2.2, 4.0  # of a blink
BLINK_EVERY_S = 0.4, 1.3  # at least, and the mean beyond it: oftener than people, as diffusion leaves some out
OVERSHOT = 1.15  # so that lids are shut for a frame or two


@dataclass(frozen=True)
class Sway:
    """Motion of a head without its mouth; (T, ...) at 25 frames per second.

    Args:
        pose: pitch, yaw, roll, degrees, (T, 3).
        shift: x, y in half sides of the crop, (T, 2).
        growth: logarithm of the size, (T,).
        blink: 0 open to 1 shut, (T,).
        brow: raised by, distances between the eyes, (T,).
    """

    pose: np.ndarray
    shift: np.ndarray
    growth: np.ndarray
    blink: np.ndarray
    brow: np.ndarray


def sway(loudness: np.ndarray, r: np.random.Generator) -> Sway:
    """Draws the motion of a head that says something.

    Args:
        loudness: 0 to about 1, (T,).
        r: random numbers.
    """
    n = len(loudness)
    stress = np.convolve(loudness, np.ones(8) / 8, "same")
    pose = np.stack(
        [size * (0.75 * _noise(n, SLOW_S, r) + 0.5 * _noise(n, QUICK_S, r) * (0.3 + stress)) for size in SWAY_DEGREES],
        1,
    )
    pose[:, 0] += 2.4 * (stress - stress.mean())  # nods on stress
    return Sway(
        pose=pose,
        shift=DRIFT * np.stack([_noise(n, 0.8, r) for _ in range(2)], 1),
        growth=DRIFT * _noise(n, 0.9, r),
        blink=_blinks(n, r),
        brow=0.03 * _noise(n, 0.35, r) * (0.3 + stress) + 0.02 * (stress - 0.3),
    )


def _blinks(n_frames: int, r: np.random.Generator) -> np.ndarray:
    """Blinks, see `BLINK_EVERY_S`."""
    frames, lids = np.arange(n_frames), np.zeros(n_frames)
    at_s = r.uniform(0.2, 2.5)
    while at_s * RATE < n_frames:
        away = frames - at_s * RATE
        shut = np.where(away < 0, 1 + away / CLOSING_FRAMES, 1 - (away - 1) / OPENING_FRAMES)
        lids = np.maximum(lids, shut.clip(0, 1))
        least_s, beyond_s = BLINK_EVERY_S
        at_s += least_s + r.gamma(4, beyond_s / 4)
    return (OVERSHOT * lids).clip(0, 1)


def _noise(n_frames: int, sigma_s: float, r: np.random.Generator) -> np.ndarray:
    """Gaussian noise of standard deviation 1, smooth over some time."""
    reach = int(4 * sigma_s * RATE)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma_s * RATE)) ** 2)
    noise = r.normal(0, 1, n_frames + 2 * reach)
    return np.convolve(noise, weights / np.sqrt((weights**2).sum()), "valid")
