"""Layout of run folders, and the state of their shards."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pydantic import TypeAdapter

from joyvasa.runtime.files import PARTIAL
from joyvasa.runtime.locations import is_remote
from joyvasa.runtime.parsing import parse_json, read_limited
from joyvasa.runtime.result_tables import (
    DONE,
    RECORDS,
    SHARDS,
    parse_shards,
    read_schema,
    read_table,
    shard_folder,
)
from manifests.problems import ManifestError, safe_text
from manifests.record import file_stem
from manifests.run.description import RunDescription
from manifests.run.events import EVENTS, SEGMENTS
from manifests.run.lock import RunLock, create_run_lock
from manifests.run.manifest_file import MANIFEST, RunManifest, ShardRecords
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import build_outcome_table, encode_parquet, outcomes_from_table
from manifests.storage import Storage

LOOKUP_THREADS = 16  # markers read at once; each is one short request on an object store
MISSING = "missing"  # retried like a status: records whose video or motion file is missing


@dataclass(frozen=True)
class DoneMarker:
    """Content of `_done.json`, which is written last and marks a shard as finished."""

    shard: int
    records: int
    statuses: dict[str, int]
    records_sha256: str  # of records.parquet
    run_fingerprint: str  # `RunDescription.fingerprint`
    finished: str  # UTC, ISO 8601
    files: int | None = None  # videos and motion files of the shard; None if unknown

    @classmethod
    def parse(cls, content: bytes, shard: int) -> DoneMarker:
        """Parse the file of a shard; raises ValueError if it is damaged."""
        marker = _MARKER.validate_python(parse_json(content))
        counts = [*marker.statuses.values()]
        if marker.shard != shard or min(counts, default=0) < 0 or sum(counts) != marker.records:
            raise ValueError("contradicts itself")
        return marker


_MARKER = TypeAdapter(DoneMarker)


@dataclass(frozen=True)
class RunCounts:
    """Progress of a run."""

    shards: int
    finished_shards: int
    records: int
    statuses: dict[str, int]  # of finished shards and of saved outcomes in unfinished shards

    @property
    def pending(self) -> int:
        """Number of records without an outcome."""
        return self.records - sum(self.statuses.values())


class RunFolder:
    """Reads and writes a run folder. Paths are relative to it, with forward slashes.

        run.yaml, events.jsonl, report/
        manifest.parquet                    rows of the run, see `manifest_file`
        shards/00000/records.parquet        one row per record
        shards/00000/videos/<stem>.mp4      see `record.file_stem`
        shards/00000/motion/<stem>.<suffix> if motions are saved
        shards/00000/features/<stem>.npz    for metrics of whole data sets
        shards/00000/moments/*.npz          sums of the features, saved by a report
        shards/00000/saved/*.jsonl          outcomes of an unfinished shard
        shards/00000/_done.json             written last

    Only the driver that holds `lock()` may finish, reopen or clean shards.
    """

    RUN = "run.yaml"
    MANIFEST = MANIFEST
    REPORT = "report"  # folder of the page
    CREATING = f"{PARTIAL}run"  # exists while the run is created; afterwards only if the process was killed

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def lock(self) -> RunLock:
        """Create a lock that excludes other drivers."""
        return create_run_lock(self.storage)

    def records_path(self, shard: int) -> str:
        """Return the path of the outcome rows of a shard."""
        return f"{shard_folder(shard)}/{RECORDS}"

    def done_path(self, shard: int) -> str:
        """Return the path of the marker of a finished shard."""
        return f"{shard_folder(shard)}/{DONE}"

    def video_path(self, shard: int, record_id: str) -> str:
        """Return the path of the video of a record."""
        return f"{shard_folder(shard)}/videos/{file_stem(record_id)}.mp4"

    def motion_path(self, shard: int, record_id: str, suffix: str) -> str:
        """Return the path of the saved motion of a record."""
        return f"{shard_folder(shard)}/motion/{file_stem(record_id)}{suffix}"

    def features_path(self, shard: int, record_id: str) -> str:
        """Return the path of a record's features for metrics of whole data sets."""
        return f"{shard_folder(shard)}/features/{file_stem(record_id)}.npz"

    def create(self, description: RunDescription, manifest: Path) -> None:
        """Create the run: write its rows, a file of `write_manifest`, then `run.yaml`.

        Raises:
            ManifestError: `run_exists` or `output_unwritable`.
        """
        self.require_new()
        self.storage.write(self.CREATING, b"being created\n")
        for name in self.storage.names(""):  # left by a killed process
            if name.startswith(PARTIAL) and name != self.CREATING:
                self.storage.remove(name)
        with self.storage.staging(MANIFEST) as staged:
            shutil.copyfile(manifest, staged)
        self.storage.write(self.RUN, replace(description, folder=self.storage.root).to_yaml())
        self.storage.remove(self.CREATING)

    def require_new(self) -> None:
        """Check that the folder contains no run; raises ManifestError `run_exists`."""
        if self.storage.exists(self.RUN):
            sentence = f"{self.storage.root}: holds a run already: use joyvasa resume, or another folder"
            raise ManifestError("run_exists", sentence)

    def require_free(self, names: Iterable[str] = ()) -> None:
        """Check that a folder without a run has no files or folders that a run would replace or add to.

        Args:
            names: names that this kind of run writes besides those of all runs.

        Raises:
            ManifestError: `output_exists`.
        """
        found = self.storage.names("")
        taken = {MANIFEST, EVENTS, SEGMENTS, SHARDS, self.REPORT, *names}.intersection(found)
        if taken and not {self.RUN, self.CREATING}.intersection(found):
            location = safe_text(self.storage.location(min(taken)), 200)
            sentence = f"{location}: exists and is not from a run, which would replace it: use another folder"
            raise ManifestError("output_exists", sentence)

    @contextmanager
    def write_source(self, name: str, content: bytes) -> Generator[str]:
        """Write a manifest and yield its location; it is removed again if the block creates no run from it.

        The manifest of an existing run is kept.

        Raises:
            ManifestError: `run_exists` if there is a run without such a manifest, `output_exists` if another file has
                the name, or `output_unwritable`.
        """
        location, exists = self.storage.location(name), self.storage.exists(name)
        if not exists:
            self.require_new()
            self.storage.write(name, content)
        elif not self.storage.exists(self.RUN) and self.storage.read(name) != content:
            sentence = f"{safe_text(location, 200)}: exists with other content: remove it, or use another folder"
            raise ManifestError("output_exists", sentence)
        try:
            yield location
        finally:
            if not exists and not self.storage.exists(self.RUN):
                self.storage.remove(name)

    def read_description(self) -> RunDescription:
        """Read `run.yaml`; raises ManifestError `run_missing` or `run_unreadable`."""
        try:
            with self.storage.open(self.RUN) as file:
                content = read_limited(file)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(self.RUN) from None
        except ValueError as error:
            raise ManifestError("run_unreadable", f"{self.RUN} cannot be read ({error}): restore it") from None
        return RunDescription.from_yaml(content)

    def read_manifest(self) -> RunManifest:
        """Open the rows of the run; raises ManifestError `run_missing` or `run_unreadable`."""
        if not self.storage.exists(MANIFEST):
            raise self._missing(MANIFEST)
        description = self.read_description()
        source_folder = self.find_source_folder(description)
        manifest = RunManifest(self.storage, source_folder if source_folder != description.manifest.folder else None)
        if manifest.records != description.manifest.records:
            location = safe_text(self.storage.location(MANIFEST), 200)
            found = f"has {manifest.records} rows; expected {description.manifest.records}, as run.yaml says"
            raise ManifestError("run_unreadable", f"{location}: {found}: restore it")
        return manifest

    def find_source_folder(self, description: RunDescription) -> str:
        """Return the folder that relative paths in rows refer to, also if it was moved together with the run folder."""
        old = description.manifest.folder
        if not description.folder or any(map(is_remote, (old, description.folder, self.storage.root))):
            return old
        moved = os.path.normpath(os.path.join(self.storage.root, os.path.relpath(old, description.folder)))
        return moved if not os.path.isdir(old) and os.path.isdir(moved) else old

    def read_done_marker(self, shard: int) -> DoneMarker | None:
        """Return the marker of a shard, None if it is missing or unreadable."""
        try:
            return DoneMarker.parse(self.storage.read(self.done_path(shard)), shard)
        except (FileNotFoundError, ValueError):
            return None

    def list_started_shards(self) -> list[int]:
        """Return the numbers of the shards that have a folder, finished or not."""
        return parse_shards(self.storage.names(SHARDS))

    def read_done_markers(self) -> dict[int, DoneMarker]:
        """Return the markers of all finished shards, by number."""
        shards = self.list_started_shards()
        with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
            marks = pool.map(self.read_done_marker, shards)
            return {shard: mark for shard, mark in zip(shards, marks, strict=True) if mark}

    def count_records(self, manifest: RunManifest, done: Mapping[int, DoneMarker] | None = None) -> RunCounts:
        """Count records by status; may be called while another process drives the run.

        Args:
            manifest: rows of the run.
            done: result of `read_done_markers`; None to read them.
        """
        done = self.read_done_markers() if done is None else done
        statuses: Counter[str] = Counter()
        for mark in done.values():
            statuses.update(mark.statuses)
        for shard in self.list_started_shards():
            if shard not in done:
                statuses.update(outcome.status for outcome in self.read_saved_outcomes(shard).values())
        return RunCounts(len(manifest), len(done), manifest.records, dict(statuses))

    def find_missing_files(self, done: Mapping[int, DoneMarker] | None = None) -> list[str]:
        """Return the paths of videos and motion files that rows of finished shards name and that do not exist.

        Args:
            done: result of `read_done_markers`; None to read them.
        """
        done = self.read_done_markers() if done is None else done
        with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
            missing = pool.map(self._find_missing_in_shard, sorted(done.items()))
            return [path for paths in missing for path in paths]

    def _find_missing_in_shard(self, marked: tuple[int, DoneMarker]) -> list[str]:
        shard, marker = marked
        if len(self._list_media(shard)) == marker.files:  # a finished shard has no other files: its rows are not read
            return []
        present = self._media(shard)
        table = self.read_records(shard, ("video", "motion_file"))
        named = (path for column in table.columns for path in column.to_pylist() if path)
        return [path for path in named if path not in present]

    def save_outcomes(self, shard: int, outcomes: Sequence[RecordOutcome]) -> None:
        """Save outcomes of an unfinished shard, so that a crash of the driver does not lose them.

        Their videos must have been written. A later outcome of a record replaces the earlier one.
        """
        lines = "".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl"
        self.storage.write(f"{shard_folder(shard)}/saved/{name}", lines.encode())

    def read_saved_outcomes(self, shard: int) -> dict[str, RecordOutcome]:
        """Return saved outcomes by record id, except for those whose video or motion file is missing.

        A damaged line is skipped: its record runs again.
        """
        folder = f"{shard_folder(shard)}/saved"
        saved: dict[str, RecordOutcome] = {}
        for name in self.storage.names(folder):
            if name.startswith(PARTIAL) or not name.endswith(".jsonl"):
                continue
            try:
                lines = self.storage.read(f"{folder}/{name}").splitlines()
            except FileNotFoundError:  # the shard has been finished in the meantime
                continue
            for line in lines:
                with suppress(ValueError, ManifestError):
                    outcome = RecordOutcome.from_dict(parse_json(line))
                    saved[outcome.record_id] = outcome

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
        """Write the outcome rows, then the marker, and remove the saved outcomes; see `build_outcome_table`.

        There must be exactly one outcome per record, whose video was written.

        Raises:
            ManifestError: `outcomes_incomplete`, `video_missing` or `output_unwritable`.
        """
        outcomes = list(outcomes)
        number = shard.number
        present = self._media(number)
        for outcome in outcomes:
            if lost := _files(outcome) - present:
                sentence = f"record {safe_text(outcome.record_id)}: {min(lost)} is missing: run the record again"
                raise ManifestError("video_missing", sentence)

        # Remove files of records that failed later, and partial files.
        wanted = {path for outcome in outcomes for path in _files(outcome)}
        for path in self._media(number, partial=True) - wanted:
            self.storage.remove(path)

        content = encode_parquet(build_outcome_table(shard, outcomes, stages=stages, metrics=metrics, columns=columns))
        self.storage.write(self.records_path(number), content)
        marker = DoneMarker(
            shard=number,
            records=len(outcomes),
            statuses=dict(Counter(outcome.status for outcome in outcomes)),
            records_sha256=hashlib.sha256(content).hexdigest(),
            run_fingerprint=run_fingerprint,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            files=len(wanted),
        )
        self.storage.write(self.done_path(number), json.dumps(asdict(marker), indent=1).encode())
        self.storage.remove(f"{shard_folder(number)}/saved")
        return marker

    def reopen_shard(self, shard: int, retry: Collection[str]) -> int:
        """Discard outcomes of a shard, finished or not, so that their records run again.

        All other outcomes are saved before anything is removed.

        Args:
            shard: number of the shard.
            retry: statuses to run again, such as `failed`; `missing` for records whose files are missing.

        Returns:
            Number of records that will run again; with 0 the shard is not changed.
        """
        folder = f"{shard_folder(shard)}/saved"
        old_files = self.storage.names(folder)
        remaining, n_again = self._split_outcomes(shard, retry)
        if n_again:
            finished = self.read_done_marker(shard) is not None
            self.save_outcomes(shard, remaining)
            for name in old_files:
                self.storage.remove(f"{folder}/{name}")
            if finished:
                self.storage.remove(self.done_path(shard))
                self.storage.remove(self.records_path(shard))
        return n_again

    def count_retries(self, retry: Collection[str]) -> int:
        """Return the number of records that `reopen_shard` would run again in all shards."""
        return sum(self._split_outcomes(shard, retry)[1] for shard in self.list_started_shards()) if retry else 0

    def _split_outcomes(self, shard: int, retry: Collection[str]) -> tuple[list[RecordOutcome], int]:
        """Return the outcomes of a shard that stay, and the number of those to run again."""
        finished = self.read_done_marker(shard) is not None
        outcomes = list(
            outcomes_from_table(self.read_records(shard)) if finished else self.read_saved_outcomes(shard).values()
        )
        remaining = [outcome for outcome in outcomes if outcome.status not in retry]
        if MISSING in retry:
            present = self._media(shard)
            remaining = [outcome for outcome in remaining if _files(outcome) <= present]
        return remaining, len(outcomes) - len(remaining)

    def clean_shard(self, shard: int) -> list[str]:
        """Remove files that a crashed driver left in an unfinished shard, except for saved outcomes and their files.

        Returns:
            The removed paths.
        """
        if self.read_done_marker(shard):
            return []

        folder = shard_folder(shard)
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
        """Return the outcome rows of a finished shard; raises InputError `records_unreadable`."""
        file = self.storage.location(self.records_path(shard))
        schema = read_schema([file])
        return read_table([file], schema, [name for name in columns if name in schema.names] if columns else None)

    def _media(self, shard: int, *, partial: bool = False) -> set[str]:
        """Return the paths of the videos and motions of a shard; `partial` includes partial files."""
        return {f"{folder}/{name}" for folder, name in self._list_media(shard, partial=partial)}

    def _list_media(self, shard: int, *, partial: bool = False) -> list[tuple[str, str]]:
        """Return the folder and the name of each of these files, which takes less time than their paths."""
        folders = [f"{shard_folder(shard)}/{name}" for name in ("videos", "motion")]
        return [
            (folder, name)
            for folder in folders
            for name in self.storage.names(folder)
            if partial or not name.startswith(PARTIAL)
        ]

    def _missing(self, path: str) -> ManifestError:
        root = safe_text(self.storage.root, 200)
        return ManifestError("run_missing", f"{root}: holds no {path}; expected a run folder: check the path")


def _files(outcome: RecordOutcome) -> set[str]:
    return {path for path in (outcome.video, outcome.motion_file) if path}
