"""`records.parquet`: the outcome rows of a shard as a table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.errors import InputError
from joyvasa.runtime.parsing import parse_json
from joyvasa.runtime.result_tables import (
    FACTS,
    INPUT_FIELDS,
    METRIC_COLUMN_PREFIX,
    METRIC_REASONS,
    RECORDS,
    RESULT_FIELDS,
    SCHEMA_VERSION,
    SECONDS_PREFIX,
    read_fact_names,
)
from manifests.option_columns import ARROW_TYPES
from manifests.problems import ManifestError, safe_text
from manifests.run.manifest_file import INPUT_PREFIX, WRITTEN_PREFIX, ShardRecords
from manifests.run.outcome import RecordOutcome

RESERVED_NAMES = frozenset(entry.name for entry in (*RESULT_FIELDS, *INPUT_FIELDS)) | {"shard"}


def build_outcome_table(
    shard: ShardRecords,
    outcomes: Iterable[RecordOutcome],
    *,
    stages: Sequence[str] = (),
    metrics: Sequence[str] = (),
    columns: Mapping[str, type] | None = None,
) -> pa.Table:
    """Build a table with one row per record of a shard, in the order of the manifest.

    Columns: those of `RESULT_FIELDS` and `INPUT_FIELDS`, `input_video`, `shard`, `seconds_<stage>`, `metric_<name>`,
    further columns, `metric_reasons`, and the passed-through columns with their types (`input_<name>` if the name is
    taken).

    Args:
        shard: records of the shard.
        outcomes: exactly one outcome per record, in any order.
        stages: stages that always have a column.
        metrics: metrics that always have a column.
        columns: names and types of further columns; those of `RESULT_FIELDS` are ignored.

    Raises:
        ManifestError: `outcomes_incomplete` if the outcomes do not match the records of the shard.
    """
    by_id = _exactly_one(shard, outcomes)
    ordered = [by_id[record.id] for record in shard.records]
    stages = _names(stages, (name for outcome in ordered for name in outcome.seconds))
    metrics = _names(metrics, (name for outcome in ordered for name in outcome.metrics))
    further = {name: kind for name, kind in (columns or {}).items() if name not in {f.name for f in RESULT_FIELDS}}

    columns_of_rows: dict[pa.Field, list[Any]] = {
        **{entry: [getattr(outcome, entry.name) for outcome in ordered] for entry in RESULT_FIELDS},
        **{entry: _input_column(shard, entry.name) for entry in INPUT_FIELDS},
        pa.field(INPUT_PREFIX + "video", pa.string()): _input_column(shard, "video"),
        pa.field("shard", pa.int32()): [shard.number] * len(ordered),
        **{pa.field(SECONDS_PREFIX + n, pa.float64()): [o.seconds.get(n) for o in ordered] for n in stages},
        **{pa.field(METRIC_COLUMN_PREFIX + n, pa.float64()): [o.metrics.get(n) for o in ordered] for n in metrics},
        **{pa.field(n, ARROW_TYPES[kind]): [o.facts.get(n) for o in ordered] for n, kind in further.items()},
        pa.field(METRIC_REASONS, pa.string()): [_json(outcome.metric_reasons) for outcome in ordered],
    }
    arrays: list[Any] = [pa.array(values, entry.type) for entry, values in columns_of_rows.items()]
    schema = [*columns_of_rows]
    for entry in shard.extra.schema:
        schema.append(entry.with_name(passthrough_name(entry.name, {other.name for other in schema})))
        arrays.append(shard.extra.column(entry.name))
    metadata = {"joyvasa.schema_version": SCHEMA_VERSION, FACTS: json.dumps([*further])}
    return pa.table(arrays, schema=pa.schema(schema, metadata=metadata))


def find_own_columns(schema: pa.Schema) -> list[str]:
    """Return the columns of an outcome table that are not passed through; Python can hold their values."""
    own = {*RESERVED_NAMES, INPUT_PREFIX + "video", *read_fact_names(schema)}
    return [name for name in schema.names if name in own or name.startswith((SECONDS_PREFIX, METRIC_COLUMN_PREFIX))]


def outcomes_from_table(table: pa.Table) -> Iterator[RecordOutcome]:
    """Yield the outcomes in a table that `build_outcome_table` returned.

    Raises:
        InputError: `records_unreadable` if a value is damaged.
    """
    try:
        yield from _parse_outcomes(table)
    except (ValueError, ManifestError) as error:  # UnicodeDecodeError, too
        sentence = f"outcome rows are damaged ({safe_text(error, 200)}): restore {RECORDS} or run the shard again"
        raise InputError("records_unreadable", sentence) from None


def _parse_outcomes(table: pa.Table) -> Iterator[RecordOutcome]:
    facts = read_fact_names(table.schema)
    for row in table.select(find_own_columns(table.schema)).to_pylist():
        values = {entry.name: row.get(entry.name) for entry in RESULT_FIELDS}  # older tables have fewer columns
        yield RecordOutcome.from_dict(
            {
                **values,
                "licenses": values["licenses"] or (),
                "seconds": _prefixed(row, SECONDS_PREFIX),
                "facts": {name: row[name] for name in facts if row[name] is not None},
                "metrics": _prefixed(row, METRIC_COLUMN_PREFIX),
                "metric_reasons": parse_json(row.get(METRIC_REASONS) or "{}"),
            }
        )


def encode_parquet(table: pa.Table) -> bytes:
    """Return a table as the content of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def passthrough_name(name: str, used: Iterable[str] = ()) -> str:
    """Return the name of a passed-through column in the outcome table."""
    taken = set(used) | RESERVED_NAMES
    while name in taken or name.startswith((SECONDS_PREFIX, METRIC_COLUMN_PREFIX)):
        name = INPUT_PREFIX + name
    return name


def _exactly_one(shard: ShardRecords, outcomes: Iterable[RecordOutcome]) -> dict[str, RecordOutcome]:
    expected = {record.id for record in shard.records}
    by_id: dict[str, RecordOutcome] = {}
    for outcome in outcomes:
        if outcome.record_id in by_id or outcome.record_id not in expected:
            reason = "has two outcomes" if outcome.record_id in by_id else "is not in it"
            raise _incomplete(shard, f"record {safe_text(outcome.record_id)} {reason}")
        by_id[outcome.record_id] = outcome
    if missing := [record.id for record in shard.records if record.id not in by_id]:
        raise _incomplete(shard, f"{len(missing)} records have no outcome, the first is {safe_text(missing[0])}")
    return by_id


def _incomplete(shard: ShardRecords, reason: str) -> ManifestError:
    sentence = f"shard {shard.number}: {reason}; expected one outcome for each of {len(shard.records)} records"
    return ManifestError("outcomes_incomplete", sentence)


def _input_column(shard: ShardRecords, name: str) -> list[Any]:
    written = WRITTEN_PREFIX + name
    return shard.table.column(written if written in shard.table.column_names else name).to_pylist()


def _json(reasons: Mapping[str, str]) -> str | None:
    return json.dumps(reasons, sort_keys=True, ensure_ascii=False) if reasons else None


def _names(declared: Sequence[str], present: Iterable[str]) -> list[str]:
    return [*declared, *sorted(set(present) - set(declared))]


def _prefixed(row: dict[str, Any], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value
        for name, value in row.items()
        if name.startswith(prefix) and name != METRIC_REASONS and value is not None
    }
