"""Rates and sizes of motion models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MotionSizes:
    """Rates and sizes of a motion model; the defaults are those of JoyVASA's published weights."""

    frames_per_second: int = 25  # frame rate of motion and videos, a divisor of `sample_rate`
    frames_per_window: int = 100  # motion frames per window
    previous_frames: int = 10  # frames of the previous window that condition the next; 0 if windows are independent
    # numbers per motion frame: expression, scale, translation, pitch, yaw, roll; any others are ignored
    coefficients: int = 73
    sample_rate: int = 16_000  # sample rate of the audio in Hz

    @property
    def samples_per_window(self) -> int:
        """Return the number of audio samples per window."""
        return self.frames_per_window * self.sample_rate // self.frames_per_second
