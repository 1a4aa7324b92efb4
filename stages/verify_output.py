"""Stage `verify_output`: check that the video of a record is complete in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.isolation import map_each
from stages.video_output import VideoPayload


@dataclass(frozen=True, kw_only=True)
class VerifyOutputConfig:
    """Configuration of `VerifyOutputStage`."""

    run: str  # run folder; a path or URI


class VerifyOutputStage(Stage[VerifyOutputConfig]):
    """Check the file of a `VideoPayload`.

    No payload. Fact: `committed`. Outcome rows are written by the driver instead: only it knows attempts, seconds and
    rejected records.
    """

    name = "verify_output"
    resources = Resources(cpu=0.1)
    batch_size = 16

    def setup(self) -> None:
        """Open the run folder."""
        self._storage = open_storage(self.config.run)

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
