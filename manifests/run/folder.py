"""The run folder: where everything of a run lies, and when a shard counts as finished."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from joyvasa.result_tables import DONE, RECORDS, SHARDS, read_schema, read_table
from joyvasa.runtime.files import PARTIAL
from manifests.errors import ManifestError
from manifests.problems import safe_text
from manifests.record import file_stem
from manifests.run.description import RunDescription
from manifests.run.lock import RunLock, create_run_lock
from manifests.run.manifest_file import MANIFEST, RunManifest, ShardRecords
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import build_outcome_table, encode_parquet, outcomes_from_table
from manifests.storage import Storage

LOOKUPS = 16  # markers asked for at once; each is one short request on an object store


@dataclass(frozen=True)
class DoneMarker:
    """`_done.json`: written last; with it the shard is finished."""

    shard: int
    records: int
    statuses: dict[str, int]
    records_sha256: str  # of records.parquet
    run_fingerprint: str  # `RunDescription.fingerprint`
    finished: str  # UTC, ISO 8601


@dataclass(frozen=True)
class RunCounts:
    """How far a run is."""

    shards: int
    finished_shards: int
    records: int
    statuses: dict[str, int]  # of finished shards, and of records saved in shards that are not finished

    @property
    def pending(self) -> int:
        """Records without an outcome."""
        return self.records - sum(self.statuses.values())


class RunFolder:
    """Reads and writes a run folder. Paths are relative to it, with forward slashes.

        run.yaml, events.jsonl, report/
        manifest.parquet                    the rows of the run, see `manifest_file`
        shards/00000/records.parquet        one row a record
        shards/00000/videos/<stem>.mp4      see `identity.file_stem`
        shards/00000/motion/<stem>.<suffix> where motions are saved
        shards/00000/features/<stem>.npz    of records with metrics, for metrics of whole sets
        shards/00000/saved/*.jsonl          outcomes of a shard that is not finished
        shards/00000/_done.json             written last

    Only the driver that holds `lock()` may call what finishes, opens again or cleans a shard.
    """

    RUN = "run.yaml"
    MANIFEST = MANIFEST

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def lock(self) -> RunLock:
        """A lock against a second driver."""
        return create_run_lock(self.storage)

    def shard_folder(self, shard: int) -> str:
        """Of one shard."""
        return f"{SHARDS}/{shard:05d}"

    def records_path(self, shard: int) -> str:
        """The outcome rows of a shard."""
        return f"{self.shard_folder(shard)}/{RECORDS}"

    def done_path(self, shard: int) -> str:
        """The marker of a finished shard."""
        return f"{self.shard_folder(shard)}/{DONE}"

    def video_path(self, shard: int, record_id: str) -> str:
        """The video of a record."""
        return f"{self.shard_folder(shard)}/videos/{file_stem(record_id)}.mp4"

    def motion_path(self, shard: int, record_id: str, suffix: str) -> str:
        """The saved motion of a record."""
        return f"{self.shard_folder(shard)}/motion/{file_stem(record_id)}{suffix}"

    def features_path(self, shard: int, record_id: str) -> str:
        """What metrics of whole sets need of a record."""
        return f"{self.shard_folder(shard)}/features/{file_stem(record_id)}.npz"

    def create(self, description: RunDescription, manifest: Path) -> None:
        """Start a run: its rows first, then `run.yaml`, which makes it one.

        Args:
            description: content of `run.yaml`.
            manifest: local file that `write_manifest` has written.

        Raises:
            ManifestError: `run_exists`, or `output_unwritable`.
        """
        if self.storage.exists(self.RUN):
            sentence = f"{self.storage.root}: holds a run already: use joyvasa resume, or another folder"
            raise ManifestError("run_exists", sentence)
        for name in self.storage.names(""):  # left by a start that was killed
            if name.startswith(PARTIAL):
                self.storage.remove(name)
        with self.storage.staging(MANIFEST) as staged:
            shutil.copyfile(manifest, staged)
        self.storage.write(self.RUN, description.to_yaml())

    def read_description(self) -> RunDescription:
        """What the run was begun with; ManifestError `run_missing` or `run_unreadable`."""
        return RunDescription.from_yaml(self._read(self.RUN))

    def read_manifest(self) -> RunManifest:
        """The rows of the run; ManifestError `run_missing` or `run_unreadable`."""
        if not self.storage.exists(MANIFEST):
            raise self._missing(MANIFEST)
        return RunManifest(self.storage)

    def read_done_marker(self, shard: int) -> DoneMarker | None:
        """The marker of a shard, None if it is not finished; an unreadable marker is none."""
        try:
            return DoneMarker(**json.loads(self.storage.read(self.done_path(shard))))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def started_shards(self) -> list[int]:
        """Numbers of the shards that have a folder, finished or not."""
        return sorted(int(name) for name in self.storage.names(SHARDS) if name.isdecimal())

    def read_done_markers(self) -> dict[int, DoneMarker]:
        """The markers of all finished shards, by number."""
        begun = self.started_shards()
        with ThreadPoolExecutor(LOOKUPS) as pool:
            marks = pool.map(self.read_done_marker, begun)
            return {shard: mark for shard, mark in zip(begun, marks, strict=True) if mark}

    def count_records(self, manifest: RunManifest) -> RunCounts:
        """How far the run is; may be called while another process works on it."""
        done = self.read_done_markers()
        statuses: Counter[str] = Counter()
        for mark in done.values():
            statuses.update(mark.statuses)
        for shard in self.started_shards():
            if shard not in done:
                statuses.update(outcome.status for outcome in self.read_saved_outcomes(shard).values())
        return RunCounts(len(manifest), len(done), manifest.records, dict(statuses))

    def save_outcomes(self, shard: int, outcomes: Sequence[RecordOutcome]) -> None:
        """Keeps outcomes of a shard that is not finished, so that a dead driver loses none of them.

        Write their videos before. A later outcome of the same record replaces the earlier one.
        """
        lines = "".join(json.dumps(outcome.as_dict()) + "\n" for outcome in outcomes)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl"
        self.storage.write(f"{self.shard_folder(shard)}/saved/{name}", lines.encode())

    def read_saved_outcomes(self, shard: int) -> dict[str, RecordOutcome]:
        """Saved outcomes by record id; without those whose video or motion file is gone."""
        folder = f"{self.shard_folder(shard)}/saved"
        saved: dict[str, RecordOutcome] = {}
        for name in self.storage.names(folder):
            if name.startswith(PARTIAL) or not name.endswith(".jsonl"):
                continue
            try:
                lines = self.storage.read(f"{folder}/{name}").splitlines()
            except FileNotFoundError:  # the shard was finished meanwhile
                continue
            saved.update(
                (outcome.record_id, outcome) for outcome in map(RecordOutcome.from_dict, map(json.loads, lines))
            )
        present = self._media(shard) if saved else set()
        return {record_id: outcome for record_id, outcome in saved.items() if _files(outcome) <= present}

    def finish_shard(
        self,
        shard: ShardRecords,
        outcomes: Iterable[RecordOutcome],
        *,
        run_fingerprint: str,
        stages: Sequence[str] = (),
        metrics: Sequence[str] = (),
        columns: Mapping[str, type] | None = None,
    ) -> DoneMarker:
        """Writes the outcome rows, then the marker; saved outcomes are removed.

        Args:
            shard: what was asked for.
            outcomes: exactly one for each record; their videos are in place.
            run_fingerprint: of the run's description.
            stages: see `outcome_table`.
            metrics: see `outcome_table`.
            columns: see `outcome_table`.

        Raises:
            ManifestError: `outcomes_incomplete`, `video_missing` or `output_unwritable`.
        """
        outcomes = list(outcomes)
        number = shard.number
        present = self._media(number)
        for outcome in outcomes:
            if lost := _files(outcome) - present:
                sentence = f"record {safe_text(outcome.record_id)}: {min(lost)} is not there: run the record again"
                raise ManifestError("video_missing", sentence)
        wanted = {path for outcome in outcomes for path in _files(outcome)}
        for path in self._media(number, partial=True) - wanted:  # of records that failed later, or died half-way
            self.storage.remove(path)
        content = encode_parquet(build_outcome_table(shard, outcomes, stages=stages, metrics=metrics, columns=columns))
        self.storage.write(self.records_path(number), content)
        mark = DoneMarker(
            shard=number,
            records=len(outcomes),
            statuses=dict(Counter(outcome.status for outcome in outcomes)),
            records_sha256=hashlib.sha256(content).hexdigest(),
            run_fingerprint=run_fingerprint,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.storage.write(self.done_path(number), json.dumps(asdict(mark), indent=1).encode())
        self.storage.remove(f"{self.shard_folder(number)}/saved")
        return mark

    def reopen_shard(self, shard: int, retry: Collection[str]) -> int:
        """Forgets outcomes of a shard, finished or not, so that these records run again.

        All other outcomes are saved before anything is removed, so nothing is lost in between.

        Args:
            shard: its number.
            retry: statuses to run again, such as `failed`.

        Returns:
            how many records will run again; 0 leaves the shard as it is.
        """
        folder = f"{self.shard_folder(shard)}/saved"
        older = self.storage.names(folder)
        finished = self.read_done_marker(shard) is not None
        outcomes = list(
            outcomes_from_table(self.read_records(shard)) if finished else self.read_saved_outcomes(shard).values()
        )
        kept = [outcome for outcome in outcomes if outcome.status not in retry]
        if len(kept) < len(outcomes):
            self.save_outcomes(shard, kept)
            for name in older:
                self.storage.remove(f"{folder}/{name}")
            if finished:
                self.storage.remove(self.done_path(shard))
                self.storage.remove(self.records_path(shard))
        return len(outcomes) - len(kept)

    def clean_shard(self, shard: int) -> list[str]:
        """Removes what a dead driver left in an unfinished shard; saved outcomes and their files stay.

        Returns:
            the removed paths.
        """
        if self.read_done_marker(shard):
            return []
        folder = self.shard_folder(shard)
        wanted = {path for outcome in self.read_saved_outcomes(shard).values() for path in _files(outcome)}
        removed = [path for path in sorted(self._media(shard, partial=True)) if path not in wanted]
        removed += [f"{folder}/saved/{n}" for n in self.storage.names(f"{folder}/saved") if n.startswith(PARTIAL)]
        tops = (f"{folder}/{name}" for name in self.storage.names(folder))
        done, records = self.done_path(shard), self.records_path(shard)
        removed += [path for path in tops if path in (done, records) or path.startswith(f"{folder}/{PARTIAL}")]
        for path in removed:
            self.storage.remove(path)
        return removed

    def read_records(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the outcome rows of a finished shard; InputError `records_unreadable`."""
        file = self.storage.location(self.records_path(shard))
        schema = read_schema([file])
        return read_table([file], schema, [name for name in columns if name in schema.names] if columns else None)

    def iterate_tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The outcome rows of all finished shards, one table a shard, in order."""
        for shard in sorted(self.read_done_markers()):
            yield self.read_records(shard, columns)

    def _media(self, shard: int, *, partial: bool = False) -> set[str]:
        """Paths of the videos and motions of a shard; those still being written too if `partial`."""
        folders = [f"{self.shard_folder(shard)}/{name}" for name in ("videos", "motion")]
        paths = [(folder, name) for folder in folders for name in self.storage.names(folder)]
        return {f"{folder}/{name}" for folder, name in paths if partial or not name.startswith(PARTIAL)}

    def _read(self, path: str) -> bytes:
        try:
            return self.storage.read(path)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(path) from None

    def _missing(self, path: str) -> ManifestError:
        root = safe_text(self.storage.root, 200)
        return ManifestError("run_missing", f"{root}: holds no {path}; expected a run folder: check the path")


def _files(outcome: RecordOutcome) -> set[str]:
    return {path for path in (outcome.video, outcome.motion_file) if path}
