"""Mouth shapes over time from speech sounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from joyvasa.media.audio import SAMPLE_RATE

RATE, OVERSAMPLING = 25, 4  # frames per second, and blending steps per frame
PARTS = ("jaw", "wide", "pucker", "upper", "lower")  # fields of `Expression` that speech moves
REST_WEIGHT = 0.02  # weight of a closed mouth
CLOSING_S = 0.022  # time in which lips part


@dataclass(frozen=True)
class TimedViseme:
    """A speech sound: the name of its mouth shape, and its start and end in seconds."""

    shape: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Shape:
    """A mouth shape; see `visemes.yaml`."""

    strength: float
    spread_s: float
    closed: bool = False
    jaw: float = 0.0
    wide: float = 0.0
    pucker: float = 0.0
    upper: float = 0.0
    lower: float = 0.0


@dataclass(frozen=True)
class VisemeTable:
    """Mouth shapes, and the shapes of sounds in two alphabets."""

    shapes: dict[str, Shape]
    cmu: dict[str, list[str]]
    ipa: dict[str, str]  # letter -> shape


@cache
def load_visemes() -> VisemeTable:
    """Read `visemes.yaml`."""
    content = yaml.safe_load(Path(__file__).with_name("visemes.yaml").read_text(encoding="utf-8"))
    letters = {letter: shape for shape, letters in content["ipa"].items() for letter in letters}
    return VisemeTable({name: Shape(**shape) for name, shape in content["shapes"].items()}, content["cmu"], letters)


def split_evenly(names: Sequence[str], start_s: float, end_s: float) -> list[TimedViseme]:
    """Return successive shapes that share a time span equally."""
    edges = np.linspace(start_s, end_s, len(names) + 1)
    return [TimedViseme(name, float(a), float(b)) for name, a, b in zip(names, edges[:-1], edges[1:], strict=True)]


def mouth_curves(recording: np.ndarray, sounds: Sequence[TimedViseme]) -> np.ndarray:
    """Compute the motion of the mouth for a recording.

    Args:
        recording: float32 (n,), 16 kHz; louder speech opens the jaw further.
        sounds: speech sounds of the recording.

    Returns:
        `PARTS` at 25 frames per second, float64 (frames, 5). Lips are closed throughout a bilabial.
    """
    n_frames = round(len(recording) / SAMPLE_RATE * RATE)
    times = (np.arange(n_frames * OVERSAMPLING) + 0.5) / (RATE * OVERSAMPLING)
    total, weights, open_ = np.zeros((len(times), len(PARTS))), np.full(len(times), REST_WEIGHT), np.ones(len(times))

    for sound in sounds:
        shape = load_visemes().shapes[sound.shape]
        distance = np.abs(times - (sound.start_s + sound.end_s) / 2)
        half = (sound.end_s - sound.start_s) / 2
        weight = shape.strength * np.exp(-np.maximum(0, distance - 0.5 * half) / shape.spread_s)
        total += weight[:, None] * np.array([getattr(shape, part) for part in PARTS])
        weights += weight
        if shape.closed:
            open_ = np.minimum(open_, 1 - np.clip(1.6 - np.maximum(0, distance - 0.35 * half) / CLOSING_S, 0, 1))

    curve = total / weights[:, None]
    curve[:, 0] *= 0.55 + 0.6 * _loudness(recording, times)
    curve = _smooth(curve, 3.0)
    curve[:, [0, 3, 4]] *= open_[:, None]
    return _smooth(curve, 1.2).reshape(n_frames, OVERSAMPLING, -1).mean(1)


def _loudness(recording: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the square root of the level relative to loud passages, 0 to about 1.2."""
    window = SAMPLE_RATE // 10
    level = np.sqrt(np.convolve(recording.astype(np.float64) ** 2, np.ones(window) / window, "same").clip(0))
    level = level[np.minimum((times * SAMPLE_RATE).astype(int), len(level) - 1)]
    return np.sqrt(np.clip(level / (np.percentile(level, 90) + 1e-6), 0, 1.4))


def _smooth(curves: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(curves, sigma, axis=0, mode="nearest")
