"""The outcome rows of a run, shard by shard, and single columns of them in memory."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.problems import safe_text
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import METRIC, METRIC_REASONS, RESULT_FIELDS
from manifests.storage import LocalStorage

READERS = 4  # files read at once


@dataclass(frozen=True)
class Part:
    """A shard that has rows: finished, or with outcomes saved so far.

    Attributes:
        shard: its number.
        stamp: changes with the rows.
        n_rows: how many there are.
        statuses: of them.
        saved: the rows of a shard that is not finished.
    """

    shard: int
    stamp: tuple[Any, ...]
    n_rows: int
    statuses: Counter[str]
    saved: pa.Table | None = None


class ColumnCache:
    """Columns of runs, up to a number of bytes; those not asked for the longest go first. Threads may share it.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._arrays: OrderedDict[tuple[Any, ...], pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> pa.Array | None:
        """What was put there, if it still is."""
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
            return found

    def put(self, key: tuple[Any, ...], array: pa.Array) -> None:
        """Keeps an array."""
        with self._lock:
            if key not in self._arrays:
                self._bytes += array.nbytes
                self._arrays[key] = array
            while self._bytes > self._limit and self._arrays:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes


class RunParts:
    """Reads a run as it grows: what has not changed is not read again.

    Args:
        folder: of the run.
        cache: for its columns; may serve several runs.
    """

    def __init__(self, folder: RunFolder, cache: ColumnCache) -> None:
        assert isinstance(folder.storage, LocalStorage), "the page reads local runs alone"
        self._folder, self._storage, self._cache = folder, folder.storage, cache
        self._parts: dict[int, Part] = {}
        self.parts: list[Part] = []
        self.columns: dict[str, pa.DataType] = {}

    def refresh(self) -> None:
        """Looks for new rows; ManifestError `records_unreadable`."""
        found: dict[int, Part] = {}
        for shard in self._folder.begun_shards():
            part = self._part(shard)
            if part and part.n_rows:
                found[shard] = part
        changed = found != self._parts
        self._parts, self.parts = found, [found[shard] for shard in sorted(found)]
        if changed and self.parts:
            best = next((part for part in self.parts if part.saved is None), self.parts[0])
            self.columns = {entry.name: entry.type for entry in self._schema(best)}

    @property
    def statuses(self) -> Counter[str]:
        """How many records ended how."""
        return sum((part.statuses for part in self.parts), Counter())

    @property
    def metrics(self) -> list[str]:
        """Names of columns with metrics."""
        return [name for name in self.columns if name.startswith(METRIC) and name != METRIC_REASONS]

    def table(self, names: Iterable[str]) -> pa.Table:
        """Whole columns, in the order of the manifest; null where a part lacks one."""
        names = [name for name in dict.fromkeys(names) if name in self.columns]
        with ThreadPoolExecutor(READERS) as pool:
            tables = [*pool.map(lambda part: self._columns(part, names), self.parts)]
        schema = pa.schema([pa.field(name, self.columns[name]) for name in names])
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def rows(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Rows with all their columns, by their places in `table`, in the order asked for."""
        wanted: dict[int, list[int]] = {}
        starts, start = [], 0
        for part in self.parts:
            starts.append(start)
            start += part.n_rows
        for place in places:
            at = next(number for number in reversed(range(len(starts))) if starts[number] <= place)
            wanted.setdefault(at, []).append(place)
        found: dict[int, dict[str, Any]] = {}
        for at, chosen in wanted.items():
            table = self._read(self.parts[at], None).take([place - starts[at] for place in chosen])
            found |= dict(
                zip(chosen, ({**row, "shard": self.parts[at].shard} for row in table.to_pylist()), strict=True)
            )
        return [found[place] for place in places]

    def _part(self, shard: int) -> Part | None:
        old = self._parts.get(shard)
        try:
            status = self._storage.path(self._folder.done_path(shard)).stat()
        except OSError:
            return self._unfinished(shard, old)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if old and old.stamp == stamp:
            return old
        mark = self._folder.done_mark(shard)
        return Part(shard, stamp, mark.records, Counter(mark.statuses)) if mark else None

    def _unfinished(self, shard: int, old: Part | None) -> Part | None:
        stamp = tuple(self._names(f"{self._folder.shard_folder(shard)}/saved"))
        if not stamp:
            return None
        if old and old.stamp == stamp:
            return old
        outcomes = [*self._folder.saved_outcomes(shard).values()]
        fields = [entry for entry in RESULT_FIELDS if entry.name != "licences"]
        columns: dict[str, pa.Array] = {
            entry.name: pa.array([getattr(outcome, entry.name) for outcome in outcomes], entry.type) for entry in fields
        }
        for name in sorted({name for outcome in outcomes for name in outcome.metrics}):
            columns[METRIC + name] = pa.array([outcome.metrics.get(name) for outcome in outcomes], pa.float64())
        statuses = Counter(outcome.status for outcome in outcomes)
        return Part(shard, stamp, len(outcomes), Counter(statuses), pa.table(columns))

    def _names(self, folder: str) -> list[str]:
        try:
            return self._storage.names(folder)
        except FileNotFoundError:
            return []

    def _schema(self, part: Part) -> pa.Schema:
        return part.saved.schema if part.saved is not None else self._read(part, []).schema

    def _columns(self, part: Part, names: Sequence[str]) -> pa.Table:
        known = {name: self._cache.get(self._key(part, name)) for name in names}
        if lacking := [name for name, array in known.items() if array is None]:
            table = self._read(part, lacking)
            for name in lacking:
                kind = self.columns[name]
                if name in table.column_names:
                    array = table.column(name).combine_chunks().cast(kind)
                else:
                    array = pa.nulls(part.n_rows, kind)
                self._cache.put(self._key(part, name), array)
                known[name] = array
        return pa.table(known)

    def _key(self, part: Part, name: str) -> tuple[Any, ...]:
        return (self._folder.storage.root, part.shard, part.stamp, name)

    def _read(self, part: Part, names: Sequence[str] | None) -> pa.Table:
        """Columns of a part; all for None, those of its schema without rows for none."""
        if part.saved is not None:
            return (
                part.saved.select([name for name in names if name in part.saved.column_names]) if names else part.saved
            )
        path = self._folder.records_path(part.shard)
        try:
            with pq.ParquetFile(self._storage.path(path)) as file:
                if names is not None and not names:
                    return file.schema_arrow.empty_table()
                table = file.read(columns=names)
        except (OSError, pa.ArrowException) as error:
            sentence = f"{os.path.join(self._storage.root, path)}: cannot be read ({safe_text(error, 200)})"
            raise ManifestError("records_unreadable", f"{sentence}: restore it or run the shard again") from None
        if table.num_rows != part.n_rows:  # it is just being replaced
            sentence = f"{path}: has {table.num_rows} rows; expected {part.n_rows}: look again in a moment"
            raise ManifestError("records_unreadable", sentence)
        return table
