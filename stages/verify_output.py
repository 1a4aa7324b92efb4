"""The last look before a record counts as done: its files are in the run folder, as stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.isolation import map_each
from stages.video_output import VideoPayload


@dataclass(frozen=True, kw_only=True)
class VerifyOutputConfig:
    """Where the videos are.

    Attributes:
        run: the run folder; a path or URI.
    """

    run: str


class VerifyOutputStage(Stage):
    """`VideoPayload` -> nothing; fact `committed`.

    Outcome rows are the driver's: only it knows attempts, seconds and rejected records, and what it writes must
    survive every worker.

    Args:
        config: see `VerifyOutputConfig`.
    """

    name = "verify_output"
    resources = Resources(cpu=0.1)
    batch_size = 16

    def __init__(self, config: VerifyOutputConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Opens the run folder."""
        self._storage = open_storage(self.config.run)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Looks up one video after another."""
        return map_each(batch, self._check)

    def _check(self, item: Item) -> Outcome:
        made: VideoPayload = item.inputs["render"]
        found = self._storage.size(made.video)
        if found != made.video_bytes:
            state = "is not there" if found is None else f"has {found} bytes"
            where = self._storage.location(made.video)
            sentence = f"{where}: {state}; expected {made.video_bytes} bytes: run the record again"
            return Failed(FailureKind.IO, "video_lost", sentence)
        return Ok(facts={"committed": True})
