"""Rates and sizes of motion models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MotionSizes:
    """Rates and sizes of a motion model; the defaults are those of JoyVASA's published weights.

    Args:
        frames_per_second: frame rate of motion and videos, a divisor of `sample_rate`.
        frames_per_window: motion frames per window.
        previous_frames: frames of the previous window that condition the next; 0 if windows are independent.
        coefficients: numbers per motion frame: expression, scale, translation, pitch, yaw, roll; any others are
            ignored.
        sample_rate: sample rate of the audio in Hz.
    """

    frames_per_second: int = 25
    frames_per_window: int = 100
    previous_frames: int = 10
    coefficients: int = 73
    sample_rate: int = 16_000

    @property
    def samples_per_window(self) -> int:
        """Return the number of audio samples per window."""
        return self.frames_per_window * self.sample_rate // self.frames_per_second
