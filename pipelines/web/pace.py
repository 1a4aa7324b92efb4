"""How long a video will take, from how long the last one took."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = ("motion", "frames", "metrics")  # in their order; each takes time in proportion to the sound


@dataclass(frozen=True)
class TimeLeft:
    """A guess.

    Attributes:
        seconds: until the video is there.
        whole: whether all that is still to come is in it; steps that were never timed are not.
    """

    seconds: float
    whole: bool


class Pace:
    """Remembers, for each step, the seconds that a second of sound took."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}

    def learn(self, step: str, elapsed_s: float, duration_s: float) -> None:
        """Notes how long a step took for a recording of `duration_s`."""
        if duration_s > 0:
            self._rates[step] = elapsed_s / duration_s

    def left(self, duration_s: float, step: str = "", share: float = 0.0, elapsed_s: float = 0.0) -> TimeLeft | None:
        """What a job still needs.

        Args:
            duration_s: of its sound.
            step: that it is at; empty before the first.
            share: of the step that is done, 0 to 1.
            elapsed_s: since the step began.

        Returns:
            None where nothing is known yet.
        """
        seconds, known, unknown = 0.0, False, False
        for name in STEPS[STEPS.index(step) if step in STEPS else 0 :]:
            if name == step and share > 0:
                seconds, known = seconds + elapsed_s * (1 - share) / share, True
            elif name in self._rates:
                spent = elapsed_s if name == step else 0.0
                seconds, known = seconds + max(0.0, self._rates[name] * duration_s - spent), True
            else:
                unknown = True
        return TimeLeft(seconds, not unknown) if known else None
