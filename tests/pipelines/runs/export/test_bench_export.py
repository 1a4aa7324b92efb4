"""Time and memory of exports of 100,000 rows, whose videos have one kilobyte each."""

import hashlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.runs.export.made_runs import make_numbered_run, write_selection

ROWS, BLOCK, VIDEO = 100_000, 1000, b"x" * 1000
EXPORT = """
import resource, sys, time
from pipelines.runs.export import export
from pipelines.runs.export.config import ExportConfig
export.make_overview = lambda samples: None
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
import torch, pyarrow.parquet
before, start = peak(), time.process_time()
config = ExportConfig(sys.argv[3], shard_bytes=100_000_000, inputs=False)
result = export.export_dataset(sys.argv[1], sys.argv[2], config)
seconds = time.process_time() - start
print(f"{sys.argv[3]}: {result.records:,} records, {result.shards} shards: {seconds:.1f} s, {peak() - before} MiB more")
"""


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    """A selection of many rows of one run, which differ in id, shard and hash only."""
    root = tmp_path_factory.mktemp("large")
    make_numbered_run(root / "run", 9)
    row = pq.read_table(write_selection(root / "small.parquet", [root / "run"])).slice(8, 1)
    with pq.ParquetWriter(root / "selection.parquet", row.schema) as writer:
        for shard in range(1000, 1000 + ROWS // BLOCK):
            names = [f"big{shard}-{n:04d}" for n in range(BLOCK)]
            table = pa.concat_tables([row] * BLOCK)
            columns = {
                "record_id": names,
                "shard": [shard] * BLOCK,
                "sha256": [hashlib.sha256(VIDEO).hexdigest()] * BLOCK,
            }
            for name, values in columns.items():
                field = row.schema.field(name)
                table = table.set_column(row.schema.get_field_index(name), field, pa.array(values, field.type))
            writer.write_table(table.combine_chunks())
            folder = root / f"run/shards/{shard:05d}/videos"
            folder.mkdir(parents=True)
            for name in names:
                (folder / f"{name}.mp4").write_bytes(VIDEO)
    return root / "selection.parquet"


@pytest.mark.bench
@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_bench_export(selection, tmp_path, format):
    arguments = [sys.executable, "-c", EXPORT, str(selection), str(tmp_path / "data"), format]
    print("\n" + subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
