"""A clip of a data set: the motion of one face and its sound."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from joyvasa.errors import InputError
from joyvasa.motion.sequence import MotionSequence
from joyvasa.networks.speech_encoder import SAMPLE_RATE

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
VALIDATION_SHARE = 0.05
MAX_CLIP_S = 60.0  # clips are read whole, so longer recordings are cut into several

_PCM_SCALE = 32767  # 16-bit value of a sample of 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipRecord:
    """Motion and sound that start at the same time."""

    clip_id: str  # id that is unique in the data set; at most 120 letters, digits and `._-`
    source: str  # hash of the recording that the clip was cut from, hexadecimal; it decides the split
    split: Split  # split of the recording, see `assign_split`
    motion: MotionSequence  # output of the motion extractor, neither smoothed nor normalized
    sound: np.ndarray  # mono at 16 kHz, int16, shape (samples,), at least as long as the motion
    start_s: float = 0.0  # start of the clip in its recording, seconds
    # openness of the left and right eye, shape (T, 2), float32; None if not measured
    eye_ratio: np.ndarray | None = None
    lip_ratio: np.ndarray | None = None  # openness of the lips, shape (T, 1), float32; None if not measured

    @property
    def n_frames(self) -> int:
        """Number of frames of motion, T."""
        return len(self.motion)

    @property
    def duration_s(self) -> float:
        """Length of the motion in seconds."""
        return self.n_frames / self.motion.frames_per_second

    def waveform(self) -> np.ndarray:
        """Return the sound as float32 in [-1, 1], shape (samples,)."""
        return self.sound.astype(np.float32) / _PCM_SCALE

    def validate(self) -> ClipRecord:
        """Check the clip and return it with its sound cut to the length of its motion.

        Raises:
            InputError: `clip_invalid`, `clip_not_finite` or `clip_sound_short`.
        """
        if not re.fullmatch(r"[\w.-]{1,120}", self.clip_id, re.ASCII) or not re.fullmatch("[0-9a-f]{8,}", self.source):
            raise self._bad("clip_invalid", f"source {self.source[:40]!r}", "an id and a source of plain characters")
        if self.split not in SPLITS:
            raise self._bad("clip_invalid", f"split {self.split!r}", " or ".join(SPLITS))

        rate = self.motion.frames_per_second
        if not self.n_frames or self.duration_s > MAX_CLIP_S:
            raise self._bad("clip_invalid", f"{self.duration_s:.1f} s", f"one frame to {MAX_CLIP_S:g} s: cut it")
        if rate <= 0 or SAMPLE_RATE % rate:
            raise self._bad("clip_invalid", f"{rate:g} frames per second", f"a divisor of {SAMPLE_RATE}")

        numbers = [self.motion.expression.flatten(1), self.motion.pose]
        if not all(bool(tensor.isfinite().all()) for tensor in numbers) or not math.isfinite(self.start_s):
            raise self._bad("clip_not_finite", "NaN or infinity in the motion", "finite numbers: leave it out")

        if self.sound.dtype != np.int16 or self.sound.ndim != 1:
            raise self._bad("clip_invalid", f"{self.sound.dtype} sound", "int16 mono")
        n_samples = round(self.n_frames * SAMPLE_RATE / rate)
        if len(self.sound) < n_samples:
            problem = f"{len(self.sound)} samples of sound for {self.n_frames} frames"
            raise self._bad("clip_sound_short", problem, f"at least {n_samples}: cut the motion or leave it out")

        for name, size in (("eye_ratio", 2), ("lip_ratio", 1)):
            ratio = getattr(self, name)
            if ratio is not None and (ratio.shape != (self.n_frames, size) or not np.isfinite(ratio).all()):
                raise self._bad("clip_invalid", f"{name} of shape {ratio.shape}", f"({self.n_frames}, {size}), finite")

        return replace(self, sound=self.sound[:n_samples])

    def _bad(self, code: str, problem: str, expected: str) -> InputError:
        return InputError(code, f"clip {self.clip_id[:80]!r}: {problem}; expected {expected}")


def assign_split(source: str, validation_share: float = VALIDATION_SHARE) -> Split:
    """Return the split of a recording; it stays the same when data are added.

    Args:
        source: hash of the recording, hexadecimal, at least eight digits.
        validation_share: fraction of the recordings used for validation, 0 to 1.
    """
    fraction = int(source[:8], 16) / 16**8
    return "validation" if fraction < validation_share else "train"


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """Convert float samples to int16; values outside [-1, 1] are clipped."""
    return np.rint(np.clip(waveform, -1, 1) * _PCM_SCALE).astype(np.int16)


def motion_from_arrays(arrays: dict[str, np.ndarray], n_frames: int, frames_per_second: float) -> MotionSequence:
    """Build a motion sequence from flat arrays, given by the names of its fields."""
    sizes = {"expression": (-1, 3), "translation": (3,)}
    tensors = {
        name: torch.from_numpy(values.reshape(n_frames, *sizes.get(name, (1,)))) for name, values in arrays.items()
    }
    return MotionSequence(**tensors, frames_per_second=frames_per_second)
