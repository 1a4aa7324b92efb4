"""Outcome tables of runs, `RUN/shards/*/records.parquet`: the one place that reads them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from joyvasa.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SHARDS = "shards"  # folder of a run with one folder a shard
RECORDS = "records.parquet"  # outcome table of a shard
DONE = "_done.json"  # marker of a finished shard, written last
SCHEMA_VERSION = "1"  # in the metadata of every table as `joyvasa.schema_version`
LOOKUPS = 16  # files that are looked up at once; each is a short request on an object store
FILES_AT_ONCE = 64  # tables read together; bounds the memory for their footers, about 0.2 MiB each


def read_results(
    run: str | os.PathLike[str], columns: Sequence[str] | None = None, filter: ds.Expression | None = None
) -> pd.DataFrame:
    """Read the outcome rows of a run; see `joyvasa.results`."""
    files = find_finished_tables(run)
    schema = read_schema(files)
    for name in columns or ():
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(schema.names)}"
            raise InputError("column_unknown", f"{os.fspath(run)}: no outcome column {name!r}; {hint}")
    return read_table(files, schema, columns, filter).to_pandas(types_mapper=_nullable)


def find_finished_tables(run: str | os.PathLike[str]) -> list[str]:
    """Return the outcome tables of the finished shards of a run, in the order of the manifest.

    Args:
        run: run folder, a local path or fsspec URI.

    Raises:
        InputError: `run_missing` if the folder holds no run.
    """
    location = os.fspath(run).rstrip("/")
    store, root = url_to_fs(location)
    store.invalidate_cache()  # another process may have written
    if not store.exists(f"{root}/run.yaml"):
        raise InputError("run_missing", f"{location}: holds no run.yaml; expected a run folder: check the path")
    try:
        names = sorted(entry.rstrip("/").rpartition("/")[2] for entry in store.ls(f"{root}/{SHARDS}", detail=False))
    except FileNotFoundError:  # nothing is finished
        return []
    shards = [f"{SHARDS}/{name}" for name in names if name.isdecimal()]
    with ThreadPoolExecutor(LOOKUPS) as pool:
        finished = pool.map(lambda shard: store.exists(f"{root}/{shard}/{DONE}"), shards)
        return [f"{location}/{shard}/{RECORDS}" for shard, done in zip(shards, finished, strict=True) if done]


def read_schema(files: Sequence[str]) -> pa.Schema:
    """Return a schema with the columns of all tables, of types that hold the values of all of them.

    Args:
        files: local paths or URIs of outcome tables.

    Raises:
        InputError: `records_unreadable`.
    """
    with ThreadPoolExecutor(LOOKUPS) as pool:
        schemas = dict.fromkeys(pool.map(_file_schema, files))  # a few distinct ones
    return pa.unify_schemas([*schemas], promote_options="permissive") if schemas else pa.schema([])


def iterate_tables(
    files: Sequence[str],
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
    filter: ds.Expression | None = None,
) -> Iterator[pa.Table]:
    """Read outcome tables, some files at a time, in order.

    Args:
        files: local paths or URIs of outcome tables.
        schema: schema from `read_schema`; a column that a file lacks is null there.
        columns: names of columns of the schema; None for all.
        filter: condition that rows must meet.

    Raises:
        InputError: `records_unreadable`.
    """
    if schema is None:
        schema = read_schema(files)
    columns = None if columns is None else [*columns]
    rest = iter(files)
    while some := list(islice(rest, FILES_AT_ONCE)):
        store, paths = _located(some)
        try:
            table = ds.dataset(paths, schema, format="parquet", filesystem=store).to_table(columns, filter)
        except (OSError, pa.ArrowException) as error:
            if len(some) == 1:
                raise _unreadable(some[0], error) from error
            for file in some:  # finds the one that is damaged
                yield from iterate_tables([file], schema, columns, filter)
            continue
        yield table


def read_table(
    files: Sequence[str],
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
    filter: ds.Expression | None = None,
) -> pa.Table:
    """Read outcome tables as one; see `read_tables`."""
    whole: pa.Schema = read_schema(files) if schema is None else schema
    tables = [*iterate_tables(files, whole, columns, filter)]
    if not tables:
        empty = whole.empty_table()
        return empty if columns is None else empty.select([*columns])
    return pa.concat_tables(tables)


def _file_schema(file: str) -> pa.Schema:
    store, (path,) = _located([file])
    try:
        schema = pq.read_schema(path, filesystem=store)
        version = (schema.metadata or {})[b"joyvasa.schema_version"].decode()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _unreadable(file, error) from error
    if version != SCHEMA_VERSION:
        sentence = f"{file}: has version {version}; expected {SCHEMA_VERSION}: use the newer program"
        raise InputError("records_unreadable", sentence)
    return schema


def _located(files: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the file system of files and their paths in it."""
    found = [url_to_fs(file) for file in files]
    return found[0][0], [path for _, path in found]


def _unreadable(file: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("records_unreadable", f"{file}: is not there: run the shard again")
    reason = " ".join(f"{error}".split())[:200]
    return InputError("records_unreadable", f"{file}: cannot be read ({reason}): restore it or run the shard again")


def _nullable(kind: pa.DataType) -> Any:
    """Return the pandas type that keeps whole numbers and truth values as such where some are missing."""
    import pandas as pd

    types = {pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype()}
    types |= {pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype()}
    types |= {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return types.get(kind)
