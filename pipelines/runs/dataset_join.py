"""Clips of single recordings become the shards of a data set, its tables and its card."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.bundles import Bundle
from joyvasa.errors import InputError
from joyvasa.runtime.files import PARTIAL
from joyvasa.training.clip_config import FRAMES_PER_SECOND
from joyvasa.training.clips import ClipRecord
from joyvasa.training.dataset import Dataset
from joyvasa.training.dataset_files import CARD, SHARDS, DatasetCard, DatasetWriter
from joyvasa.training.extraction import count_keypoints
from joyvasa.training.shard_reader import read_shard_clips
from manifests.run.folder import RunFolder
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import outcomes_from_table
from manifests.storage import Storage
from pipelines.runs.dataset_card import Tally, card_text
from stages.recording_files import RecordingFiles, SegmentRow

README = "README.md"
ROWS = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in ("clip_id", "source", "split")),
        *(pa.field(name, pa.float64()) for name in ("start_s", "duration_s")),
        *(pa.field(name, pa.string()) for name in ("code", "sentence")),
    ]
)


@dataclass(frozen=True)
class Prepared:
    """What a data set came to."""

    card: DatasetCard
    tally: Tally


def join_shards(folder: RunFolder, n_shards: int, bundle: Bundle, *, on_shard: Callable[[], object]) -> Prepared:
    """Makes the data set whole. Every shard of the run is finished, and its lock is held.

    It may be called again after a kill at any moment, and after recordings were run again.

    Args:
        folder: of the run, which becomes that of the data set.
        n_shards: number of its shards.
        bundle: of the motion extractor.
        on_shard: called now and then.

    Raises:
        InputError: `dataset_empty`, or what reading clips raises.
        ManifestError: `output_unwritable`.
    """
    storage, tally = folder.storage, Tally()
    stale = [number for number in range(n_shards) if _stale(folder, number)]
    if stale:
        storage.remove(CARD)  # the data set is none while its shards change
    keypoints = count_keypoints(bundle.network("motion_extractor"))
    for name in storage.names(SHARDS):
        if name.startswith(PARTIAL):
            storage.remove(f"{SHARDS}/{name}")
    for number in stale:
        _join(folder, number, keypoints)
        on_shard()
    for number in range(n_shards):
        tally.add(pq.read_table(io.BytesIO(storage.read(rows_path(folder, number)))))
    writer = DatasetWriter(storage, frames_per_second=FRAMES_PER_SECOND, keypoints=keypoints)
    extractor = {"name": bundle.name, "fingerprint": bundle.fingerprint(["motion_extractor"])}
    try:
        card = writer.finish(extractor=extractor, about=tally.as_dict())
    except InputError as error:
        if error.code != "dataset_empty":
            raise
        raise InputError("dataset_empty", f"{storage.root}: no clip came out of {tally.told()}") from None
    storage.write(README, card_text(card, tally, Dataset(storage).template_arrays()).encode())
    return Prepared(card, tally)


def rows_path(folder: RunFolder, shard: int) -> str:
    """The table of the clips of a shard, and of what was rejected."""
    return f"{folder.shard_folder(shard)}/clips.parquet"


def _stale(folder: RunFolder, shard: int) -> bool:
    """Whether recordings of a shard were run since it was joined."""
    parts = RecordingFiles(folder.storage)
    return not folder.storage.exists(rows_path(folder, shard)) or bool(folder.storage.names(parts.folder(shard)))


def _join(folder: RunFolder, shard: int, keypoints: int) -> None:
    """Joins what the recordings of a shard left; kept rows of an earlier join stand where there is nothing new.

    Shard and table are in place before what they were made of is removed, so nothing is lost in between.
    """
    storage, parts = folder.storage, RecordingFiles(folder.storage)
    writer = DatasetWriter(storage, frames_per_second=FRAMES_PER_SECOND, keypoints=keypoints)
    outcomes = list(outcomes_from_table(folder.read_records(shard)))
    earlier = _earlier(folder, shard)
    rows: dict[str, list[SegmentRow]] = {}
    for outcome in outcomes:
        found = parts.rows(shard, outcome.record_id)
        rows[outcome.record_id] = _checked(outcome, earlier.get(outcome.record_id) if found is None else found)
    writer.write_shard(shard, _clips(storage, parts, shard, outcomes, rows))
    storage.write(rows_path(folder, shard), _table(rows, outcomes))
    storage.remove(parts.folder(shard))


def _checked(outcome: RecordOutcome, rows: list[SegmentRow] | None) -> list[SegmentRow]:
    """The rows of a recording, or one for all of it where it was given up."""
    if rows and any(row.clip_id for row in rows) == (outcome.status == "ok"):
        return rows
    return [SegmentRow(code=outcome.error_code, sentence=outcome.error)]


def _clips(
    storage: Storage, parts: RecordingFiles, shard: int, outcomes: list[RecordOutcome], rows: Mapping[str, list[SegmentRow]]
) -> Iterator[ClipRecord]:
    """The clips of all recordings of a shard, in the order of the manifest."""
    for outcome in outcomes:
        wanted = frozenset(row.clip_id for row in rows[outcome.record_id] if row.clip_id)
        if not wanted and outcome.status == "ok":
            found = f"{storage.root}: record {outcome.record_id[:80]!r} is ok and has no clips"
            raise InputError("clips_lost", f"{found}; expected at least one: prepare the data set again")
        if not wanted:
            continue
        own = parts.clips(shard, outcome.record_id)
        new = own.exists(DatasetWriter.shard_path(0))
        files, path = (own, DatasetWriter.shard_path(0)) if new else (storage, DatasetWriter.shard_path(shard))
        n_clips = 0
        with contextlib.suppress(FileNotFoundError):
            for clip in read_shard_clips(files, path, only=wanted):
                n_clips += 1
                yield clip
        if n_clips != len(wanted):
            found = f"{storage.root}: record {outcome.record_id[:80]!r} has {n_clips} of its {len(wanted)} clips"
            raise InputError("clips_lost", f"{found}; expected all: prepare the data set again")


def _earlier(folder: RunFolder, shard: int) -> dict[str, list[SegmentRow]]:
    """Rows of an earlier join by recording."""
    try:
        table = pq.read_table(io.BytesIO(folder.storage.read(rows_path(folder, shard))))
    except FileNotFoundError:
        return {}
    rows: dict[str, list[SegmentRow]] = {}
    for row in table.to_pylist():
        del row["status"]
        rows.setdefault(row.pop("record_id"), []).append(SegmentRow(**row))
    return rows


def _table(rows: Mapping[str, list[SegmentRow]], outcomes: list[RecordOutcome]) -> bytes:
    told = [
        {"record_id": one.record_id, "status": _status(one, row), **asdict(row)}
        for one in outcomes
        for row in rows[one.record_id]
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(told, ROWS), sink, compression="zstd")
    return sink.getvalue()


def _status(outcome: RecordOutcome, row: SegmentRow) -> str:
    if row.clip_id:
        return "ok"
    return outcome.status if outcome.status == "quarantined" else "failed"
