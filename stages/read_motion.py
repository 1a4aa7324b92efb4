"""Stage `read_motion`: read the motion in a motion file or a driving video, once for all rows that use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from joyvasa.faces.video import estimate_fraction
from joyvasa.models import Models
from joyvasa.motion.sequence import MOTION_FIELDS, MotionSequence
from stages.arrays import to_array, to_tensor
from stages.base import WARNING_COLUMNS, Item, Ok, Outcome, Resources, Stage, warning_facts
from stages.config import StageConfig
from stages.failures import map_each
from stages.media import local_file


@dataclass(frozen=True)
class DrivingPayload:
    """A motion that was read from a file or a video."""

    arrays: Mapping[str, np.ndarray]  # tensors of `MotionSequence` by name, float32
    frames_per_second: float  # frame rate of the motion
    provenance: Mapping[str, str]  # origin of the motion
    sound_channels: int = 0  # number of channels of the sound of the video; 0 if there is none, or it is not used

    @classmethod
    def from_motion(
        cls, motion: MotionSequence, provenance: Mapping[str, str], *, sound_channels: int, **fields: Any
    ) -> Self:
        """Convert a motion sequence; `fields` are those of subclasses."""
        arrays = {name: to_array(getattr(motion, name)) for name in MOTION_FIELDS}
        return cls(arrays, motion.frames_per_second, dict(provenance), sound_channels, **fields)

    def to_motion(self) -> MotionSequence:
        """Return the motion sequence."""
        tensors = {name: to_tensor(array) for name, array in self.arrays.items()}
        return MotionSequence(**tensors, frames_per_second=self.frames_per_second)


class ReadMotionStage(Stage[StageConfig]):
    """Read the motion in `motion` of a row, a motion file or a video of a person.

    Payload: `DrivingPayload`, or None for a row without a motion. Facts: `frames`, `seconds`, `warnings`,
    `warning_codes`, `bytes`. The result depends on the content of the file and on the options of the row for this
    stage, so it can be shared. Networks are loaded for the first video, as motion files need none.
    """

    name = "read_motion"
    resources = Resources(gpu=1 / 8, workers="per_gpu", time_limit_s=14_400.0)
    batch_size = 1
    columns: ClassVar = WARNING_COLUMNS

    def setup(self) -> None:
        """Open the bundle."""
        self._models = Models(self.config.animation)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Read one file at a time."""
        return map_each(batch, self._read)

    def _report(self, step: str, done: int, total: int | None) -> None:
        """Report a step of reading a video: its face is followed, then its frames are read."""
        fraction = (estimate_fraction(done, total) + (step != "faces")) / 2
        self.report_progress(fraction, fraction)

    def _read(self, item: Item) -> Outcome:
        location = item.record.motion
        if not location:
            return Ok(None, {"frames": 0, "seconds": 0.0, "bytes": 0})
        with local_file(location, self.media_cache) as path:
            driving = self._models.read_motion(path, self._report, self.config.for_record(item.record))
        motion = driving.file.motion
        payload = DrivingPayload.from_motion(motion, driving.file.provenance, sound_channels=driving.sound_channels)
        n_bytes = sum(array.nbytes for array in payload.arrays.values())
        facts = {"frames": len(motion), "seconds": len(motion) / motion.frames_per_second, "bytes": n_bytes}
        return Ok(payload, facts | warning_facts(driving.warnings))
