"""Read the outcome tables of runs, `RUN/shards/*/records.parquet`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from joyvasa.errors import InputError, suggest_name
from joyvasa.runtime.arrow_text import format_values
from joyvasa.runtime.files import check_regular
from joyvasa.runtime.locations import is_remote, open_filesystem
from joyvasa.runtime.parsing import parse_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
SHARDS = "shards"  # folder of a run that contains one folder per shard
RECORDS = "records.parquet"  # outcome table of a shard
DONE = "_done.json"  # marks a finished shard; written last
_SHARD = re.compile(r"\d{5}|[1-9]\d{5,8}", re.ASCII)  # names that `shard_folder` gives
SCHEMA_VERSION = "1"  # metadata entry `joyvasa.schema_version` of every table
LOOKUPS = 16  # concurrent file lookups; each is a short request to the object store
FILES_AT_ONCE = 64  # tables per read; bounds the memory of their footers, about 0.2 MiB each

SECONDS_PREFIX = "seconds_"  # prefix of columns with the seconds of a stage
METRIC_COLUMN_PREFIX = "metric_"  # prefix of columns with a metric
METRIC_REASONS = "metric_reasons"  # column with the reasons for missing numbers, as a JSON object
AMOUNTS = ("attempts", "frames", "duration_s", "n_faces")  # columns with amounts, beside those of seconds
MAX_AMOUNT = 10**12  # no run has so many frames or seconds; sums of such amounts are finite
FACTS = "joyvasa.facts"  # metadata key with the names of the columns from `RecordOutcome.facts`

RESULT_FIELDS = (
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("stage", pa.string()),
    pa.field("error_code", pa.string()),
    pa.field("error", pa.string()),
    pa.field("attempts", pa.int32()),
    pa.field("frames", pa.int64()),
    pa.field("duration_s", pa.float64()),
    pa.field("seed", pa.int64()),
    pa.field("video", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("motion_file", pa.string()),
    pa.field("image_sha256", pa.string()),
    pa.field("image_phash", pa.string()),
    pa.field("audio_sha256", pa.string()),
    pa.field("motion_sha256", pa.string()),
    pa.field("n_faces", pa.int32()),
    pa.field("warnings", pa.string()),
    pa.field("warning_codes", pa.string()),
    pa.field("bundle", pa.string()),
    pa.field("licenses", pa.list_(pa.string())),
)
REQUIRED = tuple(entry.name for entry in RESULT_FIELDS if not entry.nullable)  # columns without nulls in every table
INPUT_FIELDS = (  # values as written in the source manifest
    pa.field("image", pa.string()),
    pa.field("audio", pa.string()),
    pa.field("motion", pa.string()),
    pa.field("mode", pa.string()),
    pa.field("cfg_scale", pa.float64()),
    pa.field("priority", pa.int32()),
    pa.field("row", pa.int64()),
)


def read_results(
    run: str | os.PathLike[str], columns: Sequence[str] | None = None, filter: ds.Expression | None = None
) -> pd.DataFrame:
    """Read the outcome rows of a run; see `joyvasa.results`."""
    files = find_finished_tables(run)
    schema = read_schema(files)
    for name in columns or ():
        if name not in schema.names:
            hint = suggest_name(name, schema.names)
            raise InputError("column_unknown", f"{os.fspath(run)}: no outcome column {name!r}; {hint}")
    return _to_pandas(read_table(files, schema, columns, filter))


def find_finished_tables(run: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the outcome tables of a run's finished shards, in manifest order.

    Raises:
        InputError: `run_missing` if the folder contains no run.
    """
    location = os.fspath(run).rstrip("/")
    store, root = open_filesystem(location)
    store.invalidate_cache()  # another process may have written to the folder
    if not store.exists(f"{root}/run.yaml"):
        raise InputError("run_missing", f"{location}: contains no run.yaml; expected a run folder: check the path")
    try:
        names = [entry.rstrip("/").rpartition("/")[2] for entry in store.ls(f"{root}/{SHARDS}", detail=False)]
    except FileNotFoundError:  # no shard is finished
        return []
    shards = [shard_folder(shard) for shard in parse_shards(names)]

    with ThreadPoolExecutor(LOOKUPS) as pool:
        finished = pool.map(lambda shard: store.exists(f"{root}/{shard}/{DONE}"), shards)
        return [f"{location}/{shard}/{RECORDS}" for shard, done in zip(shards, finished, strict=True) if done]


def shard_folder(shard: int) -> str:
    """Return the folder of a shard in its run."""
    return f"{SHARDS}/{shard:05d}"


def parse_shards(names: Iterable[str]) -> list[int]:
    """Return the sorted numbers of shards among the names in the folder of shards; other names are skipped."""
    numbers = (int(name) for name in names if _SHARD.fullmatch(name))
    return sorted(numbers)


def read_schema(files: Sequence[str]) -> pa.Schema:
    """Merge the schemas of outcome tables; the type of each column can represent the values of all tables.

    Raises:
        InputError: `records_unreadable`.
    """
    with ThreadPoolExecutor(LOOKUPS) as pool:
        schemas = dict.fromkeys(pool.map(_read_file_schema, files))  # few distinct schemas
    try:
        return pa.unify_schemas([*schemas], promote_options="permissive") if schemas else pa.schema([])
    except pa.ArrowException as error:
        raise _unreadable(files[0], error) from None


def read_fact_names(schema: pa.Schema) -> list[str]:
    """Return the columns of an outcome table that stages declared as facts; raises ValueError if they are damaged."""
    names = parse_json((schema.metadata or {}).get(FACTS.encode(), b"[]"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"metadata {FACTS} is no list of columns")
    return names


def iterate_tables(
    files: Sequence[str],
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
    filter: ds.Expression | None = None,
) -> Iterator[pa.Table]:
    """Iterate over outcome tables in order, reading a fixed number of files at a time.

    Args:
        files: local paths or URIs of outcome tables.
        schema: result of `read_schema`; columns that a file lacks are null.
        columns: columns to read; None reads all.
        filter: condition on rows; None reads all.

    Raises:
        InputError: `records_unreadable` or `condition_invalid`.
    """
    import pyarrow.dataset as ds  # imports pandas, which workers do without

    if schema is None:
        schema = read_schema(files)
    filter_columns = [] if filter is None else _find_filter_columns(schema, filter)
    needed = None if columns is None else [*dict.fromkeys([*columns, *filter_columns])]

    remaining = iter(files)
    while batch := list(islice(remaining, FILES_AT_ONCE)):
        store, paths = _resolve_paths(batch)
        try:
            table = ds.dataset(paths, schema, format="parquet", filesystem=store).to_table(needed)
            _check_required(table)
        except (OSError, ValueError, pa.ArrowException) as error:
            if len(batch) == 1:
                raise _unreadable(batch[0], error) from error
            for file in batch:  # read files one by one to identify the damaged one
                yield from iterate_tables([file], schema, columns, filter)
            continue
        table = clear_invalid_amounts(table)
        if filter is not None:  # not given to `to_table`: Arrow ends the process if statistics of a file are damaged
            table = _filter_rows(table, filter)
        yield table if columns is None else table.select([*columns])


def _check_required(table: pa.Table) -> None:
    """Check the columns read of those that every row has; raises ValueError."""
    for name in {*REQUIRED} & {*table.column_names}:
        if nulls := table.column(name).null_count:
            raise ValueError(f"column {name} has {nulls} nulls, expected none")


def clear_invalid_amounts(table: pa.Table) -> pa.Table:
    """Replace amounts that are NaN, negative or above `MAX_AMOUNT`, which only damaged tables have, by null."""
    for index, entry in enumerate(table.schema):
        if entry.name in AMOUNTS or entry.name.startswith(SECONDS_PREFIX):
            column = table.column(index)
            valid = pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, MAX_AMOUNT))
            table = table.set_column(index, entry, pc.if_else(valid, column, pa.scalar(None, entry.type)))
    return table


def _find_filter_columns(schema: pa.Schema, filter: ds.Expression) -> list[str]:
    """Return the columns that a condition reads: those without which it cannot be evaluated."""
    import pyarrow.dataset as ds

    empty = schema.empty_table()
    _filter_rows(empty, filter)

    def is_read(name: str) -> bool:
        try:
            ds.dataset(empty.drop_columns([name])).to_table(filter=filter)
        except pa.ArrowException:
            return True
        return False

    return [name for name in schema.names if is_read(name)]


def _filter_rows(table: pa.Table, filter: ds.Expression) -> pa.Table:
    import pyarrow.dataset as ds

    try:
        return ds.dataset(table).to_table(filter=filter)
    except pa.ArrowException as error:
        reason = " ".join(f"{error}".split())[:200]
        sentence = f"the rows cannot be filtered ({reason}); expected a condition on their columns: change the filter"
        raise InputError("condition_invalid", sentence) from None


def read_table(
    files: Sequence[str],
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
    filter: ds.Expression | None = None,
) -> pa.Table:
    """Read outcome tables into one table; see `iterate_tables`."""
    merged: pa.Schema = read_schema(files) if schema is None else schema
    tables = [*iterate_tables(files, merged, columns, filter)]
    if not tables:
        empty = merged.empty_table()
        return empty if columns is None else empty.select([*columns])
    return pa.concat_tables(tables)


def _read_file_schema(file: str) -> pa.Schema:
    store, (path,) = _resolve_paths([file])
    try:
        if not is_remote(file):
            check_regular(path)
        schema = pq.read_schema(path, filesystem=store)
        version = (schema.metadata or {})[b"joyvasa.schema_version"].decode()
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _unreadable(file, error) from error
    if version != SCHEMA_VERSION:
        sentence = f"{file}: has version {version}; expected {SCHEMA_VERSION}: use a newer version of joyvasa"
        raise InputError("records_unreadable", sentence)
    try:
        _check_columns(schema)
    except ValueError as error:
        raise _unreadable(file, error) from None
    return schema


def _check_columns(schema: pa.Schema) -> None:
    """Check the columns that a run writes itself; raises ValueError."""
    kinds = {entry.name: entry.type for entry in (*RESULT_FIELDS, *INPUT_FIELDS)} | {METRIC_REASONS: pa.string()}
    kinds |= {"shard": pa.int32(), "input_video": pa.string()}
    for entry in schema:
        number = entry.name.startswith((SECONDS_PREFIX, METRIC_COLUMN_PREFIX))
        kind = kinds.get(entry.name, pa.float64() if number else entry.type)
        if entry.type != kind:
            raise ValueError(f"column {entry.name} is {entry.type}, expected {kind}")
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise ValueError(f"column {twice[0]} occurs twice")
    if missing := {*REQUIRED, *read_fact_names(schema)} - {*schema.names}:
        raise ValueError(f"column {min(missing)} is missing")


def _resolve_paths(files: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the file system of the files and their paths on it."""
    resolved = [open_filesystem(file) for file in files]
    return resolved[0][0], [path for _, path in resolved]


def _unreadable(file: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("records_unreadable", f"{file}: does not exist: run the shard again")
    reason = " ".join(f"{getattr(error, 'strerror', None) or error}".split())[:200]
    return InputError("records_unreadable", f"{file}: cannot be read ({reason}): restore it or run the shard again")


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: _to_series(table.column(name)) for name in table.column_names})


def _to_series(column: pa.ChunkedArray) -> pd.Series:
    """Convert a column; values that pandas cannot hold or print, such as the year 0 in a time zone, become text."""
    import pandas as pd

    try:
        if pa.types.is_timestamp(column.type) and column.type.tz:
            pc.min_max(column).as_py()  # raises if Python has no such time, which pandas could not print
        return column.to_pandas(types_mapper=_nullable)
    except Exception:  # pandas and time zone packages have error classes of their own
        nested = pa.types.is_nested(column.type)
        return pd.Series(pd.array(column, pd.ArrowDtype(column.type)) if nested else format_values(column))


def _nullable(kind: pa.DataType) -> Any:
    """Return the nullable pandas type of integers and booleans; None keeps the default conversion."""
    import pandas as pd

    types = {pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype()}
    types |= {pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype()}
    types |= {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return types.get(kind)
