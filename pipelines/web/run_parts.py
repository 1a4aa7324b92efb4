"""The outcome rows of a run, shard by shard, and single columns of them in memory."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from joyvasa.errors import InputError
from joyvasa.result_tables import read_schema, read_table
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import METRIC, METRIC_REASONS, RESULT_FIELDS
from manifests.storage import LocalStorage


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
        """Look for new rows; InputError `records_unreadable`."""
        found: dict[int, Part] = {}
        for shard in self._folder.started_shards():
            part = self._part(shard)
            if part and part.n_rows:
                found[shard] = part
        changed = found != self._parts
        self._parts, self.parts = found, [found[shard] for shard in sorted(found)]
        if changed and self.parts:
            best = next((part for part in self.parts if part.saved is None), self.parts[0])
            schema = read_schema([self._file(best)]) if best.saved is None else best.saved.schema
            self.columns = {entry.name: entry.type for entry in schema}

    @property
    def statuses(self) -> Counter[str]:
        """How many records ended how."""
        return sum((part.statuses for part in self.parts), Counter())

    @property
    def metrics(self) -> list[str]:
        """Names of columns with metrics."""
        return [name for name in self.columns if name.startswith(METRIC) and name != METRIC_REASONS]

    def table(self, names: Iterable[str]) -> pa.Table:
        """Return whole columns, in the order of the manifest; null where a part lacks one."""
        schema = pa.schema([(name, self.columns[name]) for name in dict.fromkeys(names) if name in self.columns])
        tables = {part.shard: self._in_memory(part, schema) for part in self.parts}
        lacking = [part for part in self.parts if tables[part.shard] is None]
        read = self._read(lacking, schema)
        for part in lacking:
            tables[part.shard], read = read.slice(0, part.n_rows), read.slice(part.n_rows)
            for name in schema.names:
                self._cache.put(self._key(part, name), tables[part.shard].column(name).combine_chunks())
        return pa.concat_tables([schema.empty_table(), *tables.values()])

    def rows(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Return rows with all their columns, by their places in `table`, in the order asked for."""
        ends = np.cumsum([part.n_rows for part in self.parts])
        wanted: dict[int, list[int]] = {}
        for place in places:
            wanted.setdefault(int(np.searchsorted(ends, place, side="right")), []).append(place)
        found: dict[int, dict[str, Any]] = {}
        for at, chosen in wanted.items():
            part = self.parts[at]
            table = self._read([part]) if part.saved is None else part.saved
            rows = table.take([place - ends[at] + part.n_rows for place in chosen]).to_pylist()
            found |= {place: {**row, "shard": part.shard} for place, row in zip(chosen, rows, strict=True)}
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
        mark = self._folder.read_done_marker(shard)
        return Part(shard, stamp, mark.records, Counter(mark.statuses)) if mark else None

    def _unfinished(self, shard: int, old: Part | None) -> Part | None:
        stamp = tuple(self._names(f"{self._folder.shard_folder(shard)}/saved"))
        if not stamp:
            return None
        if old and old.stamp == stamp:
            return old
        outcomes = [*self._folder.read_saved_outcomes(shard).values()]
        fields = [entry for entry in RESULT_FIELDS if entry.name != "licenses"]
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

    def _in_memory(self, part: Part, schema: pa.Schema) -> Any:
        """Return columns of a part as a table; None where they must be read."""
        if part.saved is not None:
            saved = part.saved.select([name for name in schema.names if name in part.saved.column_names])
            return pa.concat_tables([schema.empty_table(), saved], promote_options="permissive")
        arrays = {name: self._cache.get(self._key(part, name)) for name in schema.names}
        return None if None in arrays.values() else pa.table(arrays)

    def _key(self, part: Part, name: str) -> tuple[Any, ...]:
        return (self._folder.storage.root, part.shard, part.stamp, name)

    def _read(self, parts: Sequence[Part], schema: pa.Schema | None = None) -> pa.Table:
        """Read finished parts, the columns of a schema or all."""
        table = read_table([self._file(part) for part in parts], schema)
        if table.num_rows != (expected := sum(part.n_rows for part in parts)):  # one of them is just being replaced
            sentence = f"{self._storage.root}: has {table.num_rows} rows; expected {expected}: look again in a moment"
            raise InputError("records_unreadable", sentence)
        return table

    def _file(self, part: Part) -> str:
        path = self._folder.records_path(part.shard)
        try:
            return str(self._storage.path(path))
        except FileNotFoundError:  # gone, or a link that leads elsewhere
            sentence = f"{self._storage.location(path)}: cannot be read (not below the root)"
            raise InputError("records_unreadable", f"{sentence}: restore it or run the shard again") from None
