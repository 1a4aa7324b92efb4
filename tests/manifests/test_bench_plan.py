"""Plans a manifest of 1,000,000 rows: `pytest -m bench -s tests/manifests/test_bench_plan.py`."""

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

MEASURE = r"""
import json, pathlib, re, sys, time
begin = time.monotonic()
from manifests.manifest import open_manifest
from manifests.summary import survey
totals = survey(open_manifest(sys.argv[1])).totals
# not getrusage: its peak includes the parent's at the time of the fork
peak = int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"seconds": time.monotonic() - begin, "peak_bytes": peak, **totals.as_dict()}))
"""


@pytest.fixture(scope="module")
def rows():
    """A shuffled manifest in which every portrait and every recording occurs."""
    chance = random.Random(1)
    order = list(range(ROWS))
    chance.shuffle(order)
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
def test_a_million_rows_are_planned_within_a_minute_and_a_gibibyte(tmp_path, rows, suffix, ids):
    path = tmp_path / f"manifest.{suffix}"
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
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    print(f"\n{suffix}, ids {ids}: {figures['seconds']:.1f} s, {figures['peak_bytes'] / 2**20:.0f} MiB")
    assert (figures["records"], figures["portraits"], figures["recordings"]) == (ROWS, PORTRAITS, RECORDINGS)
    assert figures["seconds"] < MAX_SECONDS
    assert figures["peak_bytes"] < MAX_BYTES
