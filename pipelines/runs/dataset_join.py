"""Join the clips of single recordings into the shards of a data set, its tables and its card."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.bundles import Bundle
from joyvasa.errors import InputError, first_line
from joyvasa.runtime.files import PARTIAL
from joyvasa.runtime.result_tables import shard_folder
from joyvasa.training.clip_config import FRAMES_PER_SECOND
from joyvasa.training.clips import ClipRecord
from joyvasa.training.dataset import Dataset
from joyvasa.training.dataset_files import CARD, SHARDS, DatasetCard, DatasetWriter
from joyvasa.training.extraction import count_keypoints
from joyvasa.training.shard_reader import read_shard_clips
from manifests.problems import safe_text
from manifests.run.folder import RunFolder
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import encode_parquet, outcomes_from_table
from manifests.storage import Storage
from pipelines.runs.dataset_card import DatasetStats, format_card
from stages.recording_files import RecordingFiles, SegmentRow

README = "README.md"
CLIP_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in ("clip_id", "source", "split")),
        *(pa.field(name, pa.float64()) for name in ("start_s", "duration_s")),
        *(pa.field(name, pa.string()) for name in ("code", "sentence")),
    ]
)


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set: its card, and statistics of the recordings."""

    card: DatasetCard
    stats: DatasetStats


def join_shards(folder: RunFolder, n_shards: int, bundle: Bundle, *, on_shard: Callable[[], object]) -> PreparedDataset:
    """Join the clips of a run, whose shards are all finished and whose lock is held, into a data set.

    The function may run again after a crash at any point, and after recordings were run again.

    Raises:
        InputError: `dataset_empty`, `clips_lost`, `clips_unreadable`, or the clips cannot be read.
        ManifestError: `output_unwritable`.
    """
    storage, stats = folder.storage, DatasetStats()
    stale = [number for number in range(n_shards) if _is_stale(folder, number)]
    if stale:
        storage.remove(CARD)  # without its card the folder is not a data set while shards change
    keypoints = count_keypoints(bundle.load_network("motion_extractor"))
    for name in storage.names(SHARDS):
        if name.startswith(PARTIAL):
            storage.remove(f"{SHARDS}/{name}")

    for number in stale:
        _join(folder, number, keypoints)
        on_shard()
    for number in range(n_shards):
        stats.add(_read_clip_rows(folder, number))

    writer = DatasetWriter(storage, frames_per_second=FRAMES_PER_SECOND, keypoints=keypoints)
    extractor = {"name": bundle.name, "fingerprint": bundle.compute_fingerprint(["motion_extractor"])}
    try:
        card = writer.finish(extractor=extractor, about=stats.as_dict())
    except InputError as error:
        if error.code != "dataset_empty":
            raise
        raise InputError("dataset_empty", f"{storage.root}: no clip came out of {stats.summarize()}") from None
    storage.write(README, format_card(card, stats, Dataset(storage).load_template_arrays()).encode())
    return PreparedDataset(card, stats)


def clip_rows_path(folder: RunFolder, shard: int) -> str:
    """Return the path of a shard's table of clips and rejected segments."""
    return f"{shard_folder(shard)}/clips.parquet"


def _is_stale(folder: RunFolder, shard: int) -> bool:
    """Return whether recordings of a shard were run since it was joined."""
    files = RecordingFiles(folder.storage)
    return not folder.storage.exists(clip_rows_path(folder, shard)) or bool(folder.storage.names(files.folder(shard)))


def _join(folder: RunFolder, shard: int, keypoints: int) -> None:
    """Join the files of the recordings of a shard; recordings without new files keep the rows of an earlier join.

    The files are removed after shard and table have been written, so that a crash loses nothing.
    """
    storage, files = folder.storage, RecordingFiles(folder.storage)
    writer = DatasetWriter(storage, frames_per_second=FRAMES_PER_SECOND, keypoints=keypoints)
    outcomes = list(outcomes_from_table(folder.read_records(shard)))

    joined_rows = _read_joined_rows(folder, shard)
    rows: dict[str, list[SegmentRow]] = {}
    for outcome in outcomes:
        new_rows = files.read_rows(shard, outcome.record_id)
        segments = joined_rows.get(outcome.record_id) if new_rows is None else new_rows
        if not segments or any(row.clip_id for row in segments) != (outcome.status == "ok"):
            segments = [SegmentRow(code=outcome.error_code, sentence=outcome.error)]  # the whole recording
        rows[outcome.record_id] = segments

    writer.write_shard(shard, _read_clips(storage, files, shard, outcomes, rows))
    storage.write(clip_rows_path(folder, shard), _table(rows, outcomes))
    storage.remove(files.folder(shard))


def _read_clips(
    storage: Storage,
    files: RecordingFiles,
    shard: int,
    outcomes: list[RecordOutcome],
    rows: Mapping[str, list[SegmentRow]],
) -> Iterator[ClipRecord]:
    """Yield the clips of all recordings of a shard in the order of the manifest."""
    for outcome in outcomes:
        clip_ids = frozenset(row.clip_id for row in rows[outcome.record_id] if row.clip_id)
        if not clip_ids and outcome.status == "ok":
            problem = f"{storage.root}: record {outcome.record_id[:80]!r} is ok and has no clips"
            raise InputError("clips_lost", f"{problem}; expected at least one: prepare the data set again")
        if not clip_ids:
            continue

        # Clips are in new files of the recording, or else in the shard of an earlier join.
        source, path = files.clip_storage(shard, outcome.record_id), DatasetWriter.shard_path(0)
        if not source.exists(path):
            source, path = storage, DatasetWriter.shard_path(shard)
        n_clips = 0
        with contextlib.suppress(FileNotFoundError):
            for clip in read_shard_clips(source, path, only=clip_ids):
                n_clips += 1
                yield clip
        if n_clips != len(clip_ids):
            problem = f"{storage.root}: record {outcome.record_id[:80]!r} has {n_clips} of its {len(clip_ids)} clips"
            raise InputError("clips_lost", f"{problem}; expected all: prepare the data set again")


def _read_joined_rows(folder: RunFolder, shard: int) -> dict[str, list[SegmentRow]]:
    """Return the rows of an earlier join by recording."""
    try:
        table = _read_clip_rows(folder, shard)
    except FileNotFoundError:
        return {}
    rows: dict[str, list[SegmentRow]] = {}
    for row in table.to_pylist():
        del row["status"]
        rows.setdefault(row.pop("record_id"), []).append(SegmentRow(**row))
    return rows


def _read_clip_rows(folder: RunFolder, shard: int) -> pa.Table:
    path = clip_rows_path(folder, shard)
    content = folder.storage.read(path)
    try:
        return pq.read_table(io.BytesIO(content)).select(CLIP_SCHEMA.names).cast(CLIP_SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        shown, reason = safe_text(folder.storage.location(path), 200), safe_text(first_line(error), 200)
        sentence = f"{shown}: cannot be read ({reason}); expected clips: restore it or prepare the data set again"
        raise InputError("clips_unreadable", sentence) from None


def _table(rows: Mapping[str, list[SegmentRow]], outcomes: list[RecordOutcome]) -> bytes:
    values = [
        {"record_id": outcome.record_id, "status": _status(outcome, row), **asdict(row)}
        for outcome in outcomes
        for row in rows[outcome.record_id]
    ]
    return encode_parquet(pa.Table.from_pylist(values, CLIP_SCHEMA))


def _status(outcome: RecordOutcome, row: SegmentRow) -> str:
    if row.clip_id:
        return "ok"
    return outcome.status if outcome.status == "quarantined" else "failed"
