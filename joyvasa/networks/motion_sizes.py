"""Rates and sizes that a motion model states."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MotionSizes:
    """Rates and sizes of a motion model; the defaults are those of JoyVASA's published weights.

    Args:
        frames_per_second: motion frames per second, a divisor of `sample_rate`; the frame rate of the videos, too.
        frames_per_window: motion frames of a window.
        previous_frames: last frames of the previous window that the model sees; 0 if windows are independent.
        coefficients: numbers per motion frame: expression, scale, translation, pitch, yaw, roll; further ones are
            ignored.
        sample_rate: sample rate of the sound in Hz.
    """

    frames_per_second: int = 25
    frames_per_window: int = 100
    previous_frames: int = 10
    coefficients: int = 73
    sample_rate: int = 16_000

    @property
    def samples_per_window(self) -> int:
        """Samples of sound in a window."""
        return self.frames_per_window * self.sample_rate // self.frames_per_second
