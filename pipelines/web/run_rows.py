"""The outcome rows of a run, shard by shard, with a cache of columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from joyvasa.errors import InputError
from joyvasa.runtime.result_tables import read_schema, read_table, shard_folder
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import (
    INPUT_FIELDS,
    METRIC_COLUMN_PREFIX,
    METRIC_REASONS,
    RESULT_FIELDS,
    find_own_columns,
)
from manifests.storage import LocalStorage
from pipelines.runs.selection.run_tables import RunTables
from pipelines.web.limits import ByteCache

OWN_SCHEMA = pa.schema([*RESULT_FIELDS, *INPUT_FIELDS])  # older tables have fewer columns


@dataclass(frozen=True)
class ShardRows:
    """Rows of a shard that is finished or has saved outcomes."""

    shard: int  # number of the shard
    stamp: tuple[Any, ...]  # value that changes when the rows change
    n_rows: int  # number of rows
    statuses: Counter[str]  # number of rows by status
    saved: pa.Table | None = None  # rows of an unfinished shard; None if the shard is finished


class RunRows:
    """Reads the rows of a run while it grows; unchanged shards are not read again.

    Args:
        folder: run folder.
        cache: cache for columns; several runs may share it.
    """

    def __init__(self, folder: RunFolder, cache: ByteCache[pa.Array]) -> None:
        assert isinstance(folder.storage, LocalStorage), "the page reads local runs only"
        self._folder, self._storage, self._cache = folder, folder.storage, cache
        self._by_shard: dict[int, ShardRows] = {}
        self.shards: list[ShardRows] = []
        self.schema = OWN_SCHEMA

    def refresh(self) -> None:
        """Look for new rows.

        Raises:
            InputError: `records_unreadable`.
        """
        by_shard: dict[int, ShardRows] = {}
        for number in self._folder.list_started_shards():
            shard = self._find_shard(number)
            if shard and shard.n_rows:
                by_shard[number] = shard

        changed = by_shard != self._by_shard
        self._by_shard, self.shards = by_shard, [by_shard[number] for number in sorted(by_shard)]
        if changed and self.shards:
            best = next((shard for shard in self.shards if shard.saved is None), self.shards[0])
            schema = read_schema([self._file(best)]) if best.saved is None else best.saved.schema
            self.schema = pa.unify_schemas([OWN_SCHEMA, schema], promote_options="permissive")

    @property
    def tables(self) -> RunTables:
        """The tables of finished shards, of which `joyvasa select` selects rows.

        Raises:
            InputError: `rows_missing` if no shard is finished; `records_unreadable`.
        """
        files = [self._file(shard) for shard in self.shards if shard.saved is None]
        root = self._storage.root
        if not files:
            raise InputError("rows_missing", f"{root}: no shard is finished; expected at least one: wait for the run")
        schema = pa.unify_schemas([OWN_SCHEMA, read_schema(files)], promote_options="permissive")
        return RunTables((root,), (tuple(files),), (len(self.shards) - len(files),), schema)

    @property
    def statuses(self) -> Counter[str]:
        """Number of records by status."""
        return sum((shard.statuses for shard in self.shards), Counter())

    @property
    def metrics(self) -> list[str]:
        """Names of the metric columns."""
        return [name for name in self.schema.names if name.startswith(METRIC_COLUMN_PREFIX) and name != METRIC_REASONS]

    def read_columns(self, names: Iterable[str]) -> pa.Table:
        """Return whole columns of `schema`, in the order of the manifest; null for shards that lack a column."""
        schema = pa.schema([self.schema.field(name).with_nullable(True) for name in dict.fromkeys(names)])
        tables = {shard.shard: self._cached_table(shard, schema) for shard in self.shards}

        missing = [shard for shard in self.shards if tables[shard.shard] is None]
        table = self._read(missing, schema)
        for shard in missing:
            tables[shard.shard], table = table.slice(0, shard.n_rows), table.slice(shard.n_rows)
            for name in schema.names:
                array = tables[shard.shard].column(name).combine_chunks()
                self._cache.put(self._key(shard, name), array, array.nbytes)
        return pa.concat_tables([schema.empty_table(), *tables.values()])

    def read_rows(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Return rows by their positions in the columns, in the given order; without passed-through columns."""
        ends = np.cumsum([shard.n_rows for shard in self.shards])
        by_index: dict[int, list[int]] = {}
        for position in positions:
            by_index.setdefault(int(np.searchsorted(ends, position, side="right")), []).append(position)

        by_position: dict[int, dict[str, Any]] = {}
        for index, selected in by_index.items():
            shard = self.shards[index]
            table = self._read([shard]) if shard.saved is None else shard.saved
            table = table.select(find_own_columns(table.schema))
            rows = table.take([position - ends[index] + shard.n_rows for position in selected]).to_pylist()
            for position, row in zip(selected, rows, strict=True):
                by_position[position] = dict.fromkeys(OWN_SCHEMA.names) | row | {"shard": shard.shard}
        return [by_position[position] for position in positions]

    def _find_shard(self, shard: int) -> ShardRows | None:
        old = self._by_shard.get(shard)
        try:
            status = self._storage.path(self._folder.done_path(shard)).stat()
        except OSError:
            return self._find_unfinished(shard, old)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if old and old.stamp == stamp:
            return old
        marker = self._folder.read_done_marker(shard)
        return ShardRows(shard, stamp, marker.records, Counter(marker.statuses)) if marker else None

    def _find_unfinished(self, shard: int, old: ShardRows | None) -> ShardRows | None:
        stamp = tuple(self._storage.names(f"{shard_folder(shard)}/saved"))
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
            columns[METRIC_COLUMN_PREFIX + name] = pa.array(
                [outcome.metrics.get(name) for outcome in outcomes], pa.float64()
            )
        statuses = Counter(outcome.status for outcome in outcomes)
        return ShardRows(shard, stamp, len(outcomes), Counter(statuses), pa.table(columns))

    def _cached_table(self, shard: ShardRows, schema: pa.Schema) -> Any:
        """Return columns of a shard as a table; None if they must be read."""
        if shard.saved is not None:
            saved = shard.saved.select([name for name in schema.names if name in shard.saved.column_names])
            return pa.concat_tables([schema.empty_table(), saved], promote_options="permissive")
        arrays = {name: self._cache.get(self._key(shard, name)) for name in schema.names}
        return None if None in arrays.values() else pa.table(arrays)

    def _key(self, shard: ShardRows, name: str) -> tuple[Any, ...]:
        return (self._folder.storage.root, shard.shard, shard.stamp, name)

    def _read(self, shards: Sequence[ShardRows], schema: pa.Schema | None = None) -> pa.Table:
        """Read finished shards, the columns of a schema or all."""
        table = read_table([self._file(shard) for shard in shards], schema)
        if table.num_rows != (expected := sum(shard.n_rows for shard in shards)):  # a shard is being replaced
            sentence = f"{self._storage.root}: has {table.num_rows} rows; expected {expected}: refresh in a moment"
            raise InputError("records_unreadable", sentence)
        return table

    def _file(self, shard: ShardRows) -> str:
        path = self._folder.records_path(shard.shard)
        try:
            return str(self._storage.path(path))
        except FileNotFoundError:  # removed, or a link to a file outside of the root
            sentence = f"{self._storage.location(path)}: cannot be read (not below the root)"
            raise InputError("records_unreadable", f"{sentence}: restore it or run the shard again") from None
