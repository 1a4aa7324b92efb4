"""Interface of metrics: named numbers of one finished video, computed in one pass over its frames."""

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
    from joyvasa.media.ffmpeg import Clock
    from joyvasa.metrics.support.sound import Soundtrack
    from joyvasa.motion.driving import FacePart
    from joyvasa.motion.sequence import MotionSequence


@dataclass(frozen=True)
class MetricColumn:
    """One number of a metric."""

    name: str  # column name in tables, unique among all metrics: `sync_c`
    title: str  # name shown to users: `Sync-C`
    measures: str  # meaning of the number, one sentence
    unit: str = ""  # unit of the number: `dB`, `frames`, `1/s`; empty if dimensionless
    better: Literal["higher", "lower"] | None = None  # direction of improvement; None if there is none


@dataclass(frozen=True)
class NotMeasured:
    """Reason for a missing number: it is undefined for this video, or an input is missing."""

    code: str  # stable identifier, lower case with underscores: `no_motion`
    sentence: str  # what was found and what was expected


Values: TypeAlias = Mapping[str, "float | NotMeasured"]
"""Number, or reason for a missing number, by column name."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A finished video and its known inputs. All fields about the inputs are optional."""

    video: Path  # local video file
    frames_per_second: float  # frame rate of the video
    width: int  # size of the frames, pixels
    height: int  # size of the frames, pixels
    has_sound: bool  # whether the video has a sound stream
    sound: Path | None = None  # file with the driving recording; None if unknown
    sound_clock: Clock = "samples"  # clock on which the video has this sound, see `joyvasa.media.ffmpeg.audio_stream`
    # source picture as a frame without motion would show it, uint8 RGB (height, width, 3)
    reference_frame: Image | None = None
    # area of the frame covered by the face crop: left, top, right, bottom in pixels; may exceed the frame
    face_box: tuple[int, int, int, int] | None = None
    motion: MotionSequence | None = None  # motion that drives the video
    driven_parts: tuple[FacePart, ...] = ("head", "lips", "eyes")  # parts of the face that move as in `motion`
    absolute_expression: bool = False  # whether the expression is free of identity, see `joyvasa.bundles.spec.Switches`
    mode: str = "human"  # `human` or `animal`
    seed: int = 0  # seed of random draws in metrics

    @cached_property
    def soundtrack(self) -> Soundtrack | None:
        """Sound of the video, decoded once for all metrics; None if it has none.

        Raises:
            InputError: see `joyvasa.media.audio.stream_audio`.
        """
        from joyvasa.metrics.support.sound import read_soundtrack

        return read_soundtrack(self.video) if self.has_sound else None


class Measurement(ABC):
    """State of a metric for one clip; holds a bounded number of frames."""

    def update(self, frames: np.ndarray) -> None:  # noqa: B027 (metrics of the motion need no frames)
        """Process the next frames.

        Args:
            frames: uint8 RGB, shape (n, height, width, 3), n at least 1; read-only.
        """

    @abstractmethod
    def finish(self) -> Values:
        """Return the value of every column of the metric. Called once, after the last frame."""

    def features(self) -> Mapping[str, np.ndarray]:
        """Return small float32 arrays that set metrics (FVD) aggregate, by name of the set metric."""
        return {}


@dataclass(frozen=True, kw_only=True)
class MetricModels:
    """Networks for metrics."""

    bundle: Bundle  # bundle that holds the roles of the metrics
    device: torch.device  # device to compute on


class Metric(ABC):
    """Base class of metrics. Constructed without arguments and set up in its worker process.

    Attributes:
        name: unique name: `sync`.
        columns: columns that the metric fills.
        roles: roles of the bundle `metrics` that the metric requires.
        license: license of the weights; empty if there are none.
        needs: inputs required in addition to the video, as text for users; empty if none.
        needs_frames: whether `update` has to be called.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[MetricColumn, ...]]
    roles: ClassVar[tuple[str, ...]] = ()
    license: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    needs_frames: ClassVar[bool] = True

    def setup(self, models: MetricModels) -> None:  # noqa: B027 (most need no networks)
        """Load networks; called once per worker process, only if all roles are available.

        Raises:
            ModelError: a file is damaged or has the wrong shape.
        """

    @abstractmethod
    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip. An exception only invalidates the numbers of this metric.

        Raises:
            InputError: the clip has no such numbers; code and sentence are the reason, also if `finish` raises it.
        """

    def all_missing(self, code: str, sentence: str) -> Values:
        """Return the same reason for every column."""
        return {column.name: NotMeasured(code, sentence) for column in self.columns}


@dataclass
class FixedMeasurement(Measurement):
    """A measurement whose values are known before the first frame."""

    values: Values = field(default_factory=dict)

    def finish(self) -> Values:
        """Return the values."""
        return self.values
