"""Select from 100,000 outcome rows: `pytest -m bench -s tests/pipelines/runs/selection/test_bench_selection.py`."""

import json
import shutil
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from joyvasa.runtime.result_tables import SHARDS, shard_folder
from tests.pipelines.runs.selection.outcomes import make_row, write_finished_run

pytestmark = pytest.mark.bench

SHARD_ROWS, N_SHARDS = 250, 400
MAX_CPU_SECONDS, MAX_BYTES = 5, 512 << 20
SELECT = """
import pathlib, re, sys, time
sys.argv = ["joyvasa", "select", *sys.argv[1:]]
from pipelines.cli.main import app
app(standalone_mode=False)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(time.process_time(), peak, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run with one shard that is repeated under other numbers."""
    root = tmp_path_factory.mktemp("bench") / "run"
    rows = [make_row(n, voice=f"v{n % 40}", sync_c=float(n % 97)) for n in range(SHARD_ROWS)]
    write_finished_run(root, rows, shard_size=SHARD_ROWS)
    for number in range(1, N_SHARDS):
        shutil.copytree(root / SHARDS / "00000", root / shard_folder(number))
    return root


def test_selecting_from_100_000_rows_takes_less_than_5_s(run):
    out = run.parent / "selection.parquet"
    arguments = ["--where", "sync_c >= 30", "--per", "portrait=200", "--top", "20000", "--by", "sync_c"]
    arguments += ["--split", "train=0.9,val=0.05,test=0.05", "--disjoint", "portrait,recording"]
    start = time.monotonic()
    command = [sys.executable, "-c", SELECT, str(run), *arguments, "-o", str(out)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - start
    cpu_s, peak_kib = map(float, result.stderr.split()[-2:])
    print(result.stdout, json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_mib": peak_kib / 1024}))
    assert pq.read_metadata(out).num_rows == 20_000
    assert cpu_s < MAX_CPU_SECONDS
    assert peak_kib * 1024 < MAX_BYTES
