"""What a metric is: columns with numbers, read off one finished video while it streams by once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np

from joyvasa.media.image import Image

if TYPE_CHECKING:
    import torch

    from joyvasa.bundles import Bundle
    from joyvasa.metrics.support.sound import Soundtrack
    from joyvasa.motion.sequence import MotionSequence


@dataclass(frozen=True)
class MetricColumn:
    """One number of a metric.

    Args:
        name: of the column in tables, unique among all metrics: `sync_c`.
        title: for people: `Sync-C`.
        measures: what it says of a video, one sentence.
        unit: of the number: `dB`, `frames`, `1/s`; empty for a plain number.
        better: which direction is better; None where neither is.
    """

    name: str
    title: str
    measures: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True)
class NotMeasured:
    """Why there is no number: it has no meaning for this video, or something is missing.

    Args:
        code: stable, lower case with underscores: `no_motion`.
        sentence: what was found, what was expected.
    """

    code: str
    sentence: str


Values: TypeAlias = Mapping[str, "float | NotMeasured"]
"""Numbers, or the reason for none, by column."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A finished video and what is known of how it was made. All but the video may be unknown.

    Args:
        video: local file, picture and sound.
        frames_per_second: of the video.
        width, height: of its frames, pixels.
        has_sound: whether it has a sound stream.
        sound: file with the sound that it should have; None where only the video's own is known.
        reference_frame: the source picture as an unmoved frame would show it, uint8 RGB (height, width, 3).
        face_box: part of the frame that the face crop fills: left, top, right, bottom in pixels, may leave the frame.
        motion: that was played.
        absolute_expression: its expression has nothing of a person in it, see `joyvasa.bundles.spec.Switches`.
        mode: `human` or `animal`.
        seed: for whatever a metric draws at random, so that it draws the same again.
    """

    video: Path
    frames_per_second: float
    width: int
    height: int
    has_sound: bool
    sound: Path | None = None
    reference_frame: Image | None = None
    face_box: tuple[int, int, int, int] | None = None
    motion: MotionSequence | None = None
    absolute_expression: bool = False
    mode: str = "human"
    seed: int = 0

    @cached_property
    def soundtrack(self) -> Soundtrack | None:
        """The video's own sound, decoded once for all metrics; None where it has none.

        Raises:
            InputError: as `joyvasa.media.audio.stream_audio`.
        """
        from joyvasa.metrics.support.sound import read_soundtrack

        return read_soundtrack(self.video) if self.has_sound else None


class Measurement(ABC):
    """A metric at work on one clip; holds a bounded number of frames, however long the clip is."""

    def update(self, frames: np.ndarray) -> None:  # noqa: B027 (a metric of the motion needs no frames)
        """Takes the next frames.

        Args:
            frames: uint8 RGB, shape (n, height, width, 3), n at least 1; read only.
        """

    @abstractmethod
    def finish(self) -> Values:
        """Numbers of the whole clip, one entry for each column of the metric. Called once, after the last frame."""

    def features(self) -> Mapping[str, np.ndarray]:
        """What metrics of whole sets (FVD) need of this clip, by the name of the set metric; small float32 arrays."""
        return {}


@dataclass(frozen=True, kw_only=True)
class MetricModels:
    """Networks for metrics.

    Args:
        bundle: with the roles that metrics name.
        device: to compute on.
    """

    bundle: Bundle
    device: torch.device


class Metric(ABC):
    """Measures clips. Made without arguments, sent to its worker, and only there set up.

    Attributes:
        name: of the metric, unique: `sync`.
        columns: its numbers.
        roles: of the bundle `metrics` that it cannot work without.
        license: terms of its weights; empty where it has none.
        needs: what it wants to know of a clip besides the file, in words; empty for nothing.
        needs_frames: whether `update` wants to see them.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[MetricColumn, ...]]
    roles: ClassVar[tuple[str, ...]] = ()
    license: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    needs_frames: ClassVar[bool] = True

    def setup(self, models: MetricModels) -> None:  # noqa: B027 (most need no networks)
        """Loads networks; called once in every worker, only where all roles are there.

        Raises:
            ModelError: a file is damaged or does not fit.
        """

    @abstractmethod
    def start(self, clip: Clip) -> Measurement:
        """Begins with a clip. Anything it or the measurement raises costs this metric's numbers alone."""

    def all_missing(self, code: str, sentence: str) -> Values:
        """The same reason for every column."""
        return {column.name: NotMeasured(code, sentence) for column in self.columns}


@dataclass
class FixedMeasurement(Measurement):
    """A measurement that has ended before it began."""

    values: Values = field(default_factory=dict)

    def finish(self) -> Values:
        """The reasons."""
        return self.values
