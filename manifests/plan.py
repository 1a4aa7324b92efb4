"""The shard plan: which rows belong together, fixed once and never renumbered."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.formats.block import Span
from manifests.manifest import unify_extra
from manifests.problems import Problem
from manifests.record import Record
from manifests.scan import Scan, ScannedBlock
from manifests.stats import Tally

# A shard is what becomes visible at once, one table and one marker. 256 records of ten seconds are 43 minutes
# of video, some hundred MB: progress is seen early, a manifest of a million rows has 3,907 shards, which one
# folder listing still shows, and a batch of the widest stage is a small part of a shard.
SHARD_RECORDS = 256
PLAN_VERSION = "1"


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one manifest file."""

    number: int
    file: str  # name within the manifest's folder
    row_group: int  # see `Span`
    offset: int
    length: int
    first_row: int
    rows: int
    rejected: tuple[int, ...]  # indices of rows that cannot be used; they have no record
    priority: int  # the highest of its records
    content_hash: str  # BLAKE2b over record ids and contents, in order

    @property
    def records(self) -> int:
        """Rows that become records."""
        return self.rows - len(self.rejected)

    @property
    def span(self) -> Span:
        """Where the rows lie in the file."""
        return Span(self.row_group, self.offset, self.length, self.first_row, self.rows)


PLAN_SCHEMA = pa.schema(
    [
        ("number", pa.int32()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("first_row", pa.int64()),
        ("rows", pa.int32()),
        ("rejected", pa.list_(pa.int32())),
        ("priority", pa.int32()),
        ("content_hash", pa.string()),
    ]
)


@dataclass(frozen=True)
class Plan:
    """All shards of a manifest; a row of the table is a shard."""

    table: pa.Table
    fingerprint: str  # of the manifest's bytes
    shard_size: int
    extra: pa.Schema  # columns that are passed through

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, number: int) -> Shard:
        row: dict[str, Any] = self.table.slice(number, 1).to_pylist()[0]
        return Shard(**{**row, "rejected": tuple(row["rejected"])})

    def __iter__(self) -> Iterator[Shard]:
        return (self[number] for number in range(len(self)))

    @property
    def records(self) -> int:
        """Records of all shards."""
        rejected = sum(map(len, self.table.column("rejected").to_pylist()))
        return sum(self.table.column("rows").to_pylist()) - rejected


def make_plan(
    scan: Scan,
    *,
    shard_size: int = SHARD_RECORDS,
    tally: Tally | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Plan:
    """Reads a manifest once and divides it into shards, in file order.

    Rows with problems are left out of the shards and handed to `on_problem`. File order is kept:
    sorting rows that share a portrait next to each other would need the whole table at once.

    Args:
        scan: a fresh one; its summary is complete afterwards.
        shard_size: rows of a shard; the last one of each file may be shorter.
        tally: adds up what the usable rows ask for.
        on_problem: gets each problem, in order.
        on_progress: gets the number of rows read so far, after each block.

    Raises:
        ManifestError: `shard_size`, or as `Scan.blocks`.
    """
    if shard_size < 1:
        raise ManifestError("shard_size", f"shard size is {shard_size}; expected at least 1")
    fingerprint = scan.manifest.fingerprint()
    shards: list[Shard] = []
    growing: _GrowingShard | None = None
    for scanned in scan.blocks():
        for at, record in enumerate(scanned.records):
            if growing and (growing.rows == shard_size or growing.file != scanned.file):
                shards.append(growing.finish())
                growing = None
            growing = growing or _GrowingShard(len(shards), scanned, at)
            growing.add(record, scanned.end(at))
        if tally:
            tally.add([record for record in scanned.records if record], scan.manifest.locate)
        if on_problem:
            for problem in scanned.problems:
                on_problem(problem)
        if on_progress:
            on_progress(scan.summary.rows)
    if growing:
        shards.append(growing.finish())
    columns = {name: [getattr(shard, name) for shard in shards] for name in PLAN_SCHEMA.names}
    return Plan(pa.table(columns, schema=PLAN_SCHEMA), fingerprint, shard_size, unify_extra(scan.extra_schemas))


def plan_bytes(plan: Plan) -> bytes:
    """The plan as a Parquet file."""
    metadata = {
        "joyvasa.plan_version": PLAN_VERSION,
        "joyvasa.fingerprint": plan.fingerprint,
        "joyvasa.shard_size": str(plan.shard_size),
        "joyvasa.extra": base64.b64encode(plan.extra.serialize().to_pybytes()).decode(),
    }
    sink = io.BytesIO()
    pq.write_table(plan.table.replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def parse_plan(content: bytes) -> Plan:
    """A plan from the bytes of its Parquet file.

    Raises:
        ManifestError: `plan_unreadable`.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
        metadata = table.schema.metadata
        if metadata[b"joyvasa.plan_version"] != PLAN_VERSION.encode():
            raise ManifestError("plan_unreadable", "plan.parquet is of another version: use the program that made it")
        extra = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(metadata[b"joyvasa.extra"])))
        fingerprint, shard_size = metadata[b"joyvasa.fingerprint"].decode(), int(metadata[b"joyvasa.shard_size"])
        return Plan(table.replace_schema_metadata(None).cast(PLAN_SCHEMA), fingerprint, shard_size, extra)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        sentence = f"plan.parquet cannot be read ({error}): it was damaged or written by another program"
        raise ManifestError("plan_unreadable", sentence) from None


class RecordsHash:
    """The content hash of a shard: BLAKE2b over ids and contents, one record after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, record: Record) -> None:
        """Takes the next record in."""
        self._digest.update(f"{record.record_id}\n{record.content()}\n".encode())

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return self._digest.hexdigest()


class _GrowingShard:
    """A shard while its rows are read."""

    def __init__(self, number: int, scanned: ScannedBlock, at: int) -> None:
        self.file = scanned.file
        self.rows = 0
        self._number = number
        self._row_group, self._offset = scanned.block.row_group, scanned.block.starts[at]
        self._first_row = scanned.block.numbers[at]
        self._end = self._offset
        self._rejected: list[int] = []
        self._priority: int | None = None
        self._hash = RecordsHash()

    def add(self, record: Record | None, end: int) -> None:
        if record is None:
            self._rejected.append(self.rows)
        else:
            self._hash.add(record)
            self._priority = record.priority if self._priority is None else max(self._priority, record.priority)
        self.rows += 1
        self._end = end

    def finish(self) -> Shard:
        return Shard(
            number=self._number,
            file=self.file,
            row_group=self._row_group,
            offset=self._offset,
            length=self._end - self._offset if self._row_group < 0 else -1,
            first_row=self._first_row,
            rows=self.rows,
            rejected=tuple(self._rejected),
            priority=self._priority or 0,
            content_hash=self._hash.hexdigest(),
        )
