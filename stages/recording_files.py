"""What stages leave of each recording in the folder of a data set that is being made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from joyvasa.training.clip_config import FRAMES_PER_SECOND
from joyvasa.training.clips import ClipRecord, Split
from joyvasa.training.dataset_files import DatasetWriter
from joyvasa.training.segments import Segment
from manifests.record import file_stem
from manifests.storage import Storage, open_storage


@dataclass(frozen=True, kw_only=True)
class SegmentRow:
    """A line of the table of clips: a part of a recording, and what became of it.

    Attributes:
        source: hash of the recording; None if it could not be read.
        split: of the recording; likewise.
        clip_id: in the data set; None if it is rejected.
        start_s: where it begins; None if the whole recording is meant.
        duration_s: how long it is; likewise.
        code: reason of the rejection.
        sentence: likewise, without the code.
    """

    source: str | None = None
    split: Split | None = None
    clip_id: str | None = None
    start_s: float | None = None
    duration_s: float | None = None
    code: str | None = None
    sentence: str | None = None

    @classmethod
    def of(cls, stretch: Segment, *, source: str, split: Split, clip_id: str | None = None) -> SegmentRow:
        """The line of a stretch."""
        return cls(
            source=source,
            split=split,
            clip_id=clip_id,
            start_s=stretch.start_s,
            duration_s=stretch.duration_s,
            code=stretch.code,
            sentence=stretch.sentence,
        )


class RecordingFiles:
    """Files below `shards/00000/parts`: of each recording its clips, as a shard of one recording, and its lines.

    They are there until the run's shard is joined to a shard of the data set.

    Args:
        storage: of the data set.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def folder(self, shard: int) -> str:
        """Of all recordings of a shard."""
        return f"shards/{shard:05d}/parts"

    def clips(self, shard: int, record_id: str) -> Storage:
        """Where the clips of a recording lie, as shard 0 of a data set of its own."""
        return open_storage(self.storage.location(f"{self.folder(shard)}/{file_stem(record_id)}"))

    def write_clips(self, shard: int, record_id: str, clips: Iterable[ClipRecord], *, keypoints: int) -> int:
        """Keeps the clips of a recording; returns how many there were."""
        writer = DatasetWriter(self.clips(shard, record_id), frames_per_second=FRAMES_PER_SECOND, keypoints=keypoints)
        return writer.write_shard(0, clips)

    def write_rows(self, shard: int, record_id: str, rows: Sequence[SegmentRow]) -> None:
        """Keeps the lines of a recording; to be called last."""
        content = json.dumps([asdict(row) for row in rows]).encode()
        self.storage.write(f"{self.folder(shard)}/{file_stem(record_id)}.json", content)

    def rows(self, shard: int, record_id: str) -> list[SegmentRow] | None:
        """The lines of a recording; None if there are none."""
        try:
            content = self.storage.read(f"{self.folder(shard)}/{file_stem(record_id)}.json")
        except FileNotFoundError:
            return None
        return [SegmentRow(**row) for row in json.loads(content)]
