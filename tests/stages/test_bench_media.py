"""Read media from files, archives and tables: `pytest -m bench -s tests/stages/test_bench_media.py`."""

import io
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.manifest import open_manifest
from manifests.scan import Scan
from stages.base import Item, Ok
from stages.hash_inputs import HashInputsStage
from stages.media_cache import MediaCacheConfig, close_cache

pytestmark = pytest.mark.bench
N_ROWS = 2000
PICTURE_BYTES = 100_000
COPY = """
import resource, sys
from pathlib import Path
from manifests.manifest import open_manifest
from manifests.run.manifest_file import write_manifest
from manifests.scan import Scan
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_manifest(Scan(open_manifest(sys.argv[1])), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Manifests with the same pictures in files, a zip and a tar archive, a WebDataset and a Parquet file."""
    folder = tmp_path_factory.mktemp("bench")
    generator = np.random.default_rng(0)
    pictures = [generator.bytes(PICTURE_BYTES) for _ in range(N_ROWS)]
    (folder / "files").mkdir()
    rows = {"files": [], "zip": [], "tar": []}
    with zipfile.ZipFile(folder / "a.zip", "w") as packed, tarfile.open(folder / "a.tar", "w") as tar:
        for number, picture in enumerate(pictures):
            (folder / "files" / f"{number}.jpg").write_bytes(picture)
            packed.writestr(f"{number}.jpg", picture)
            for suffix, content in (("jpg", picture), ("wav", b"s")):
                entry = tarfile.TarInfo(f"{number}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            rows["files"].append(f"files/{number}.jpg")
            rows["zip"].append(f"zip://{number}.jpg::a.zip")
            rows["tar"].append(f"tar://{number}.jpg::a.tar")
    for name, images in rows.items():
        lines = "".join(f"{image},files/0.jpg\n" for image in images)
        (folder / f"{name}.csv").write_text(f"image,audio\n{lines}")
    table = pa.table({"image": pictures, "audio": ["files/0.jpg"] * N_ROWS})
    pq.write_table(table, folder / "a.parquet", row_group_size=100)
    named = {name: folder / f"{name}.csv" for name in rows}
    return {**named, "WebDataset": folder / "a.tar", "Parquet": folder / "a.parquet"}


def measure_reading(manifest, name):
    """Return the seconds in which the stage that reads media first hashes all pictures."""
    records = [record for block in Scan(open_manifest(manifest)).blocks() for record in block.records]
    stage = HashInputsStage()
    stage.media_cache = MediaCacheConfig(f"bench {name}")
    stage.setup()
    started = time.perf_counter()
    for start in range(0, N_ROWS, stage.batch_size):
        outcomes = stage.run([Item(record) for record in records[start : start + stage.batch_size]])
        assert all(isinstance(outcome, Ok) for outcome in outcomes)
    seconds = time.perf_counter() - started
    close_cache(stage.media_cache)
    return seconds


def test_bench_media(sources, tmp_path):
    print(f"\n{N_ROWS:,} pictures of {PICTURE_BYTES:,} bytes")
    print("source      copy rows s  driver MiB  read media s  to files")
    files = measure_reading(sources["files"], "warm")
    for name, manifest in sources.items():
        started = time.perf_counter()
        command = [sys.executable, "-c", COPY, str(manifest), str(tmp_path / f"{name}.parquet")]
        added = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024
        copy_s, read_s = time.perf_counter() - started, measure_reading(manifest, name)
        files = read_s if name == "files" else files
        print(f"{name:10} {copy_s:12.2f} {added:11.0f} {read_s:13.2f} {read_s / files:9.1f}")
