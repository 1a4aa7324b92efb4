"""Plan and copy a manifest of 1,000,000 rows: `pytest -m bench -s tests/manifests/test_bench_plan.py`."""

import json
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.bench

ROWS, PORTRAITS, RECORDINGS = 1_000_000, 50_000, 20_000
MAX_SECONDS, MAX_BYTES = 60, 1 << 30  # on two cores

PLAN = """
from dataclasses import asdict
from manifests.estimate import summarize_manifest
result = asdict(summarize_manifest(open_manifest(sys.argv[1])).stats)
"""
COPY = """
from manifests.run.manifest_file import RunManifest, write_manifest
from manifests.scan import Scan
from manifests.storage import open_storage
path = pathlib.Path(sys.argv[1])
write_manifest(Scan(open_manifest(path)), path.with_name("manifest.parquet"))
run = RunManifest(open_storage(path.parent))
last = run.read_shard(len(run) - 1)
result = {"records": run.records, "shards": len(run), "last": len(last.records)}
"""
MEASURE = r"""
import json, pathlib, re, sys, time
start = time.monotonic()
from manifests.manifest import open_manifest
{}
# not getrusage, whose peak includes that of the parent at the time of the fork
peak = int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
figures = {{"seconds": time.monotonic() - start, "cpu_s": time.process_time(), "peak_bytes": peak}}
print(json.dumps({{**figures, **result}}))
"""


@pytest.fixture(scope="module")
def rows():
    """A shuffled manifest that contains every portrait and every recording."""
    generator = random.Random(1)
    order = list(range(ROWS))
    generator.shuffle(order)
    return pa.table(
        {
            "image": [f"portraits/{n % PORTRAITS:06d}.jpg" for n in order],
            "audio": [f"speech/{(n // 7) % RECORDINGS:06d}.wav" for n in order],
            "record_id": [f"clip_{n:07d}" for n in order],
            "speaker": [f"speaker {n % 977}" for n in order],
        }
    )


@pytest.mark.parametrize("ids", ["given", "derived"])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_million_rows_are_planned_and_copied_within_a_minute_each_and_a_gibibyte(tmp_path, rows, suffix, ids):
    path = tmp_path / f"source.{suffix}"
    table = (
        rows
        if ids == "given"
        else rows.drop_columns(["record_id", "speaker"]).append_column("seed", pa.array(range(ROWS)))
    )
    if suffix == "parquet":
        pq.write_table(table, path)  # one row group, as most writers do
    elif suffix == "csv":
        pa_csv.write_csv(table, path)
    else:
        with path.open("w") as file:
            for batch in table.to_batches(10_000):
                file.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
    plan, copy = measure(PLAN, path), measure(COPY, path)
    for name, figures in (("plan", plan), ("copy", copy)):
        cost = f"{figures['seconds']:.1f} s, {figures['cpu_s']:.1f} s of processors"
        print(f"\n{name} {suffix}, ids {ids}: {cost}, {figures['peak_bytes'] / 2**20:.0f} MiB")
    assert (plan["records"], plan["portraits"], plan["recordings"]) == (ROWS, PORTRAITS, RECORDINGS)
    assert (copy["records"], copy["shards"], copy["last"]) == (ROWS, 3907, 64)
    for figures in (plan, copy):
        assert figures["seconds"] < MAX_SECONDS
        assert figures["peak_bytes"] < MAX_BYTES


def measure(code, path):
    command = [sys.executable, "-c", MEASURE.format(code), path]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
