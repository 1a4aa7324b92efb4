"""Options for cutting recordings into clips."""

from __future__ import annotations

import math
from dataclasses import dataclass

from joyvasa.errors import ConfigError
from joyvasa.networks.speech_encoder import SAMPLE_RATE
from joyvasa.training.clips import MAX_CLIP_S, VALIDATION_SHARE

FRAMES_PER_SECOND = 25  # frame rate of all training motion
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Criteria for the parts of a recording that become clips.

    Raises:
        ConfigError: `config_invalid`.
    """

    min_s: float = 8.01  # minimum length of a clip; two windows of training are 8 s long
    looks_per_s: float = 5.0  # face detections per second, up to 25
    lost_s: float = 1.0  # longest time that the face may be lost or another face be visible
    frozen_s: float = 1.0  # still pictures of this length or longer are cut out
    validation_share: float = VALIDATION_SHARE  # fraction of the recordings used for validation

    def __post_init__(self) -> None:
        ranges = {
            "min_s": (0 < self.min_s <= MAX_CLIP_S / 2, f"above 0, at most {MAX_CLIP_S / 2:g}"),
            "looks_per_s": (0.2 <= self.looks_per_s <= FRAMES_PER_SECOND, f"0.2 to {FRAMES_PER_SECOND}"),
            "lost_s": (0 <= self.lost_s < math.inf, "0 or more"),
            "frozen_s": (0.08 <= self.frozen_s < math.inf, "two frames, 0.08, or more"),
            "validation_share": (0 <= self.validation_share <= 1, "0 to 1"),
        }
        for name, (valid, expected) in ranges.items():
            if not valid:
                raise ConfigError("config_invalid", f"clips.{name} is {getattr(self, name)}; expected {expected}")

    @property
    def min_frames(self) -> int:
        """Minimum number of frames of a clip."""
        return math.ceil(round(self.min_s * FRAMES_PER_SECOND, 6))

    @property
    def detection_interval(self) -> int:
        """Number of frames from one face detection to the next."""
        return max(1, round(FRAMES_PER_SECOND / self.looks_per_s))
