"""Helpers that write rows in every format and read them."""

import csv
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.manifest import open_manifest
from manifests.run.manifest_file import MANIFEST, RunManifest, write_manifest
from manifests.scan import Scan
from manifests.storage import open_storage

FORMATS = ("csv", "tsv", "jsonl", "parquet")


def write(path, rows, *, row_group_size=None):
    """Write rows, which are mappings; missing values are empty in CSV and null elsewhere."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif suffix == ".parquet":
        table = pa.table({name: [row.get(name) for row in rows] for name in names})
        pq.write_table(table, path, row_group_size=row_group_size)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
            writer.writerow(names)
            writer.writerows([["" if row.get(name) is None else row[name] for name in names] for row in rows])
    return path


def pair(number, **more):
    return {"image": f"p{number % 7}.png", "audio": f"s{number % 5}.wav", "record_id": f"r{number:04d}", **more}


def scanned(path):
    """Return all records (None for a bad row), all problems, and the summary of a scan."""
    scan = Scan(open_manifest(path))
    records, problems = [], []
    for block in scan.blocks():
        records += block.records
        problems += block.problems
    return records, problems, scan.summary


def copied(source, folder, size=4):
    """Copy the rows of a manifest into a local run folder."""
    folder.mkdir(exist_ok=True)
    write_manifest(Scan(open_manifest(source)), folder / MANIFEST, shard_size=size)
    return RunManifest(open_storage(folder))


def shards_of(rows):
    return [rows.read_shard(number) for number in range(len(rows))]


def write_odd_table(path):
    """Write a Parquet manifest of two rows whose other columns hold what Python or JSON cannot."""
    year_0 = -62_167_219_200_000_000
    columns = {
        "year_0": pa.array([year_0, None], pa.timestamp("us", "America/New_York")),
        "infinity": pa.array([2**63 - 1, None], pa.timestamp("us", "UTC")),
        "zone": pa.array([1, None], pa.timestamp("us", "Mars/Phobos")),
        "ns": pa.array([1, None], pa.timestamp("ns")),
        "day": pa.array([2**31 - 1, None], pa.int32()).cast(pa.date32()),
        "clock": pa.array([1, None], pa.time64("ns")),
        "latin": pa.array([b"caf\xe9", None], pa.binary()).view(pa.string()),
        "nan": [float("nan"), float("inf")],
        "price": pa.array([Decimal("1.50"), None]),
        "raw": [b"\xff", None],
        "key": pa.array([bytes(16), None], pa.uuid()),
        "view": pa.array(["a", None], pa.string_view()),
        "nested": pa.array([[{"x": float("-inf")}], None]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "row_index": [1, 1],
        "speaker": ["anna", "ben"],
    }
    rows = {"record_id": ["r0", "r1"], "image": ["p.png"] * 2, "audio": ["s.wav"] * 2}
    pq.write_table(pa.table({**rows, **columns}), path)
    return path


def find_problems(scan):
    """Scan a manifest and return the problems of all rows, in order."""
    return [problem for block in scan.blocks() for problem in block.problems]
