"""Estimate the remaining time of a video from how long the last one took."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = ("motion", "frames", "metrics")  # in order; each takes time in proportion to the sound


@dataclass(frozen=True)
class RemainingTime:
    """An estimate."""

    seconds: float  # seconds until the video is finished
    complete: bool  # whether all remaining steps are included; steps that were never timed are not


class TimeEstimator:
    """Estimates times from the seconds that each step took per second of sound."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}

    def record(self, step: str, elapsed_s: float, duration_s: float) -> None:
        """Record how long a step took for a recording of `duration_s`."""
        if duration_s > 0:
            self._rates[step] = elapsed_s / duration_s

    def estimate(
        self, duration_s: float, step: str = "", share: float = 0.0, elapsed_s: float = 0.0
    ) -> RemainingTime | None:
        """Estimate the remaining time of a job.

        Args:
            duration_s: length of the sound.
            step: current step; empty before the first one.
            share: finished share of the step, 0 to 1.
            elapsed_s: seconds since the step started.

        Returns:
            The estimate; None if no step was timed yet.
        """
        seconds, timed, complete = 0.0, False, True
        for name in STEPS[STEPS.index(step) if step in STEPS else 0 :]:
            if name == step and share > 0:
                seconds, timed = seconds + elapsed_s * (1 - share) / share, True
            elif name in self._rates:
                spent = elapsed_s if name == step else 0.0
                seconds, timed = seconds + max(0.0, self._rates[name] * duration_s - spent), True
            else:
                complete = False
        return RemainingTime(seconds, complete) if timed else None
