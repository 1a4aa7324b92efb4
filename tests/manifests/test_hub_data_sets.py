"""Rows from data sets on the hub."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from stages.media import local_file
from stages.media_cache import MediaCacheConfig, close_cache
from tests.manifests.dataset_hub import serve_data_set
from tests.manifests.tables import scanned

PICTURE_BYTES = 200_000


@pytest.fixture
def hub(monkeypatch):
    """A data set of 80 rows with 16 MB of pictures in one row group."""
    import fsspec
    import numpy as np
    from huggingface_hub import HfFileSystem

    generator = np.random.default_rng(0)
    pictures = [generator.bytes(PICTURE_BYTES) for _ in range(80)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    sink = io.BytesIO()
    columns = {
        "image": pa.array([{"bytes": picture, "path": "p.png"} for picture in pictures], kind),
        "audio": [f"audio/{number}.wav" for number in range(80)],
    }
    pq.write_table(pa.table(columns), sink, compression="none")
    saved = io.BytesIO()
    with pa.ipc.new_stream(saved, pa.schema([("image", kind), ("audio", pa.string())])) as file:
        file.write_table(pa.table(columns).slice(0, 5))
    files = {"data/train-00000-of-00001.parquet": sink.getvalue(), "audio/3.wav": b"sound", "README.md": b""}
    files["saved/data-00000-of-00001.arrow"] = saved.getvalue()
    files["saved/state.json"] = b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}'
    with serve_data_set(files) as (address, downloads):
        monkeypatch.setattr(HfFileSystem, "_instance", None, raising=False)
        HfFileSystem.clear_instance_cache()
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": address, "token": False})
        yield pictures, downloads
    HfFileSystem.clear_instance_cache()


def test_rows_of_a_data_set_on_the_hub_are_read_without_their_media_which_are_fetched_once(hub):
    pictures, downloads = hub
    records, problems, summary = scanned("hf://datasets/me/faces")
    assert (len(records), problems, summary.rows) == (80, [], 80)
    assert sum(size for _, size in downloads) < 80 * PICTURE_BYTES
    downloads.clear()

    cache = MediaCacheConfig("hub test", 50_000_000)
    for number in (0, 3, 79):
        with local_file(records[number].image, cache) as path:
            assert path.read_bytes() == pictures[number]
    with local_file(records[3].audio, cache) as path:
        assert path.read_bytes() == b"sound"
    assert sum(size for name, size in downloads if name.endswith("parquet")) <= 80 * PICTURE_BYTES * 1.01
    close_cache(cache)


def test_what_save_to_disk_wrote_is_read_on_the_hub(hub):
    pictures, _ = hub
    records, problems, _ = scanned("hf://datasets/me/faces/saved")
    assert (len(records), problems) == (5, [])
    with local_file(records[4].image) as path:
        assert path.read_bytes() == pictures[4]
    assert records[4].audio == "hf://datasets/me/faces/saved/audio/4.wav"


def test_a_data_set_that_does_not_exist_is_named(hub):
    with pytest.raises(ManifestError, match=r"manifest_missing: hf://datasets/me/other"):
        open_manifest("hf://datasets/me/other")
