"""Pair 50,000 portraits with 20,000 recordings: `pytest -m bench -s tests/manifests/test_bench_pair.py`."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.bench

PORTRAITS, RECORDINGS, SPEAKERS = 50_000, 20_000, 977
MAX_SECONDS, MAX_GROWTH_BYTES = 30, 64 << 20  # on two cores; growth from 100,000 pairs to 1,000,000

PAIR = r"""
import json, pathlib, re, sys, time
start = time.monotonic()
from manifests.media_lists import open_media_list
from manifests.pair_table import open_output, write_pairs
from manifests.pairing import plan_pairs
images, audio, output, options = sys.argv[1:]
lists = open_media_list(images, "image"), open_media_list(audio, "audio")
plan = plan_pairs(*lists, **json.loads(options))
pairs = write_pairs(plan, *lists, *open_output(output, [])).pairs
# not getrusage, whose peak includes that of the parent at the time of the fork
peak = int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"pairs": pairs, "seconds": time.monotonic() - start, "peak_bytes": peak}))
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    for kind, count, column in (("image", PORTRAITS, "speaker"), ("audio", RECORDINGS, "person")):
        paths = [f"{kind}/{number % SPEAKERS:04d}/{number:07d}.bin" for number in range(count)]
        values = [f"speaker {number % SPEAKERS}" for number in range(count)]
        pq.write_table(pa.table({kind: paths, column: values}), folder / f"{kind}.parquet")
    return folder


@pytest.mark.parametrize("match", [[], [["speaker", "person"]]])
def test_a_million_pairs_take_seconds_and_their_number_needs_no_memory(tables, match):
    figures = [measure(tables, {"sample": sample, "match": match}) for sample in (100_000, 1_000_000)]
    for figure in figures:
        size = f"{figure['peak_bytes'] / 2**20:.0f} MiB"
        print(f"\n{figure['pairs']:,} pairs, match {match}: {figure['seconds']:.1f} s, {size}")
    assert [figure["pairs"] for figure in figures] == [100_000, 1_000_000]
    assert figures[1]["seconds"] < MAX_SECONDS
    assert figures[1]["peak_bytes"] - figures[0]["peak_bytes"] < MAX_GROWTH_BYTES


def measure(tables, options):
    command = [sys.executable, "-c", PAIR, tables / "image.parquet", tables / "audio.parquet", tables / "pairs.parquet"]
    return json.loads(
        subprocess.run([*command, json.dumps(options)], capture_output=True, text=True, check=True).stdout
    )
