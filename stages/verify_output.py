"""Stage `verify_output`: check that videos were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.failures import map_each


@dataclass(frozen=True)
class VideoPayload:
    """A finished video."""

    video: str  # path within the run folder
    video_bytes: int  # size of the file in bytes
    sha256: str  # SHA-256 of the file
    frames: int  # number of frames
    frames_per_second: float  # frame rate
    # width, height: size in pixels
    width: int
    height: int

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.frames / self.frames_per_second


class VerifyOutputStage(Stage[str]):
    """Check the file of a `VideoPayload`.

    No payload. Fact: `committed`. Outcome rows are written by the driver instead: only it knows attempts, seconds and
    rejected records.

    Args:
        config: run folder; an absolute path or URI.
    """

    name = "verify_output"
    resources = Resources(cpu=0.1)
    batch_size = 16

    def setup(self) -> None:
        """Open the run folder."""
        self._storage = open_storage(self.config)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Check one video at a time."""
        return map_each(batch, self._check)

    def _check(self, item: Item) -> Outcome:
        video: VideoPayload = item.inputs["render"]
        size = self._storage.size(video.video)
        if size != video.video_bytes:
            state = "is missing" if size is None else f"has {size} bytes"
            location = self._storage.location(video.video)
            sentence = f"{location}: {state}; expected {video.video_bytes} bytes: run the record again"
            return Failed(FailureKind.IO, "video_lost", sentence)
        return Ok(facts={"committed": True})
