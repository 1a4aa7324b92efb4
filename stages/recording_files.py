"""Files of each recording in the folder of a data set while it is prepared."""

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
    """A row of `clips.parquet`: a segment of a recording, accepted as a clip or rejected."""

    source: str | None = None  # SHA-256 of the recording; None if it could not be read
    split: Split | None = None  # split of the recording; None if it could not be read
    clip_id: str | None = None  # id of the clip in the data set; None if the segment is rejected
    start_s: float | None = None  # start of the segment, seconds; None if the row stands for the whole recording
    duration_s: float | None = None  # duration of the segment, seconds; None if the row stands for the whole recording
    code: str | None = None  # code of the rejection
    sentence: str | None = None  # reason of the rejection, without the code

    @classmethod
    def from_segment(cls, segment: Segment, *, source: str, split: Split, clip_id: str | None = None) -> SegmentRow:
        """Return the row of a segment."""
        return cls(
            source=source,
            split=split,
            clip_id=clip_id,
            start_s=segment.start_s,
            duration_s=segment.duration_s,
            code=segment.code,
            sentence=segment.sentence,
        )


@dataclass(frozen=True)
class RecordingFiles:
    """Reads and writes `shards/00000/parts`: the clips of each recording, as a data set of one shard, and its rows.

    The files are removed when the shard of the run is joined into a shard of the data set.
    """

    storage: Storage  # storage of the data set

    def folder(self, shard: int) -> str:
        """Return the folder with the files of a shard's recordings."""
        return f"shards/{shard:05d}/parts"

    def clip_storage(self, shard: int, record_id: str) -> Storage:
        """Return the storage with the clips of a recording, which are shard 0 of a data set."""
        return open_storage(self.storage.location(f"{self.folder(shard)}/{file_stem(record_id)}"))

    def write_clips(self, shard: int, record_id: str, clips: Iterable[ClipRecord], *, keypoints: int) -> int:
        """Write the clips of a recording and return their number."""
        storage = self.clip_storage(shard, record_id)
        writer = DatasetWriter(storage, frames_per_second=FRAMES_PER_SECOND, keypoints=keypoints)
        return writer.write_shard(0, clips)

    def write_rows(self, shard: int, record_id: str, rows: Sequence[SegmentRow]) -> None:
        """Write the rows of a recording; call it after `write_clips`."""
        content = json.dumps([asdict(row) for row in rows]).encode()
        self.storage.write(f"{self.folder(shard)}/{file_stem(record_id)}.json", content)

    def read_rows(self, shard: int, record_id: str) -> list[SegmentRow] | None:
        """Return the rows of a recording, or None if they were not written."""
        try:
            content = self.storage.read(f"{self.folder(shard)}/{file_stem(record_id)}.json")
        except FileNotFoundError:
            return None
        return [SegmentRow(**row) for row in json.loads(content)]
