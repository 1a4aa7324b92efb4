"""The records of one shard, read from its place in the manifest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from manifests.errors import ManifestError
from manifests.manifest import Manifest
from manifests.plan import Plan, RecordsHash, Shard
from manifests.record import Record
from manifests.scan import parse_block


@dataclass(frozen=True)
class ShardRecords:
    """What a shard asks for."""

    shard: Shard
    records: list[Record]
    extra: pa.Table  # passed-through columns, one row a record


def read_shard(manifest: Manifest, plan: Plan, number: int) -> ShardRecords:
    """Reads one shard; of text files only its bytes, of Parquet files nothing before its row group.

    Raises:
        ManifestError: `manifest_changed` if the rows are not those that were planned; or as `Manifest.reader`.
    """
    shard = plan[number]
    reader = manifest.reader(shard.file)
    present = reader.columns()
    extra = pa.schema([field for field in plan.extra if present is None or field.name in present])
    records: list[Record | None] = []
    tables: list[pa.Table] = []
    for block in reader.blocks(shard.span, extra):
        records += parse_block(block, {})
        if block.extra is not None:
            tables.append(block.extra)
    used = np.ones(len(records), dtype=bool)
    used[[at for at in shard.rejected if at < len(records)]] = False
    kept = [record for record, wanted in zip(records, used, strict=True) if wanted and record]
    digest = RecordsHash()
    for record in kept:
        digest.add(record)
    if len(records) != shard.rows or len(kept) != shard.records or digest.hexdigest() != shard.content_hash:
        sentence = (
            f"{manifest.uri}: the rows of shard {number} (from {reader.counted} {shard.first_row} of {shard.file}) are "
            "not those that were planned: put the manifest back, or start a new run"
        )
        raise ManifestError("manifest_changed", sentence)
    table = pa.concat_tables(tables) if tables else extra.empty_table()
    return ShardRecords(shard, kept, _complete(table, plan.extra, used))


def _complete(table: pa.Table, schema: pa.Schema, used: np.ndarray) -> pa.Table:
    """The columns of the plan, of which a file may lack some, for the rows that are used."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(len(used), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema).filter(pa.array(used)) if columns else schema.empty_table()
