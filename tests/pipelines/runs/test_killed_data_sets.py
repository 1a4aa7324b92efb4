"""The driver of a run over a data set is killed; the resumed run has every row once, with the media of that row."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from hashlib import sha256
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from joyvasa.config import config_from_dict
from joyvasa.runtime.result_tables import find_finished_tables, read_table, shard_folder
from manifests.problems import ManifestError
from manifests.run.folder import RunFolder
from manifests.scratch import PREFIX
from manifests.storage import open_storage
from pipelines.runs.config import RunConfig
from pipelines.runs.resume import resume_run
from stages.media_cache import MediaCacheConfig, close_cache
from tests.manifests.dataset_hub import serve_data_set
from tests.media import EXAMPLES, write_tone
from tests.pipelines.runs.small_runs import read_rows

pytestmark = pytest.mark.slow
MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ROWS = 4
LIMIT_S = 120.0
DRIVE = """
import sys
from pipelines.runs.generate import generate_videos
from tests.pipelines.runs.small_runs import make_config
generate_videos(*sys.argv[1:], make_config("shard_size=1", "stages.render.batch_size=1"))
"""


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """One picture, made different by appended bytes, and a recording of half a second for each row."""
    folder = tmp_path_factory.mktemp("media")
    picture = (EXAMPLES / "officer.jpg").read_bytes()
    sounds = [write_tone(folder / f"{n}.wav", seconds=0.5, rate=16_000 + n).read_bytes() for n in range(ROWS)]
    return [(picture + bytes([n]), sounds[n]) for n in range(ROWS)]


def make_table(media):
    return pa.table(
        {
            "record_id": [f"r{n}" for n in range(ROWS)],
            "image": pa.array([{"bytes": picture, "path": "p.jpg"} for picture, _ in media], MEDIA),
            "audio": pa.array([{"bytes": sound, "path": "s.wav"} for _, sound in media], MEDIA),
        }
    )


def write_saved(folder, media):
    datasets = pytest.importorskip("datasets", reason="not installed: pip install datasets")
    datasets.disable_progress_bars()
    datasets.Dataset(make_table(media)).save_to_disk(folder)
    return folder


def write_tar(path, media):
    with tarfile.open(path, "w") as tar:
        for number, contents in enumerate(media):
            for suffix, content in zip(("jpg", "wav"), contents, strict=True):
                entry = tarfile.TarInfo(f"r{number}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def write_parquet(path, media):
    pq.write_table(make_table(media), path, row_group_size=2)
    return path


@contextlib.contextmanager
def serve_hub(media, monkeypatch):
    """Serve the rows as a data set of the hub, to this process and to those that it starts."""
    from huggingface_hub import HfFileSystem

    sink = io.BytesIO()
    pq.write_table(make_table(media), sink)
    with serve_data_set({"data/train-00000-of-00001.parquet": sink.getvalue()}) as (address, downloads):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": address, "token": False})
        HfFileSystem.clear_instance_cache()
        yield downloads
    HfFileSystem.clear_instance_cache()


def start_and_kill(source, run):
    """Start a run, kill its driver after the first finished shard, and return the finished files."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(source), str(run)], cwd=Path(__file__).parents[3], start_new_session=True
    )
    started = time.monotonic()
    while driver.poll() is None and not list(run.glob("shards/*/_done.json")):
        assert time.monotonic() - started < LIMIT_S
        time.sleep(0.01)
    assert driver.poll() is None
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    folder = RunFolder(open_storage(run))
    done = [run / shard_folder(shard) for shard in folder.read_done_markers()]
    assert 1 <= len(done) < ROWS
    return {path: path.stat().st_mtime_ns for shard in done for path in shard.rglob("*") if path.is_file()}


@pytest.fixture(params=["save_to_disk", "webdataset", "parquet", "hub"])
def source(request, media, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with contextlib.ExitStack() as stack:
        if request.param == "hub":
            stack.enter_context(serve_hub(media, monkeypatch))
            yield "hf://datasets/me/faces"
        else:
            write, name = {
                "save_to_disk": (write_saved, "set"),
                "webdataset": (write_tar, "set.tar"),
                "parquet": (write_parquet, "set.parquet"),
            }[request.param]
            yield write(tmp_path / name, media)


def test_a_killed_run_over_a_data_set_is_completed_with_the_media_of_each_row(source, media, tmp_path):
    run = tmp_path / "run"
    finished = start_and_kill(source, run)
    assert list((tmp_path / "tmp").glob(f"{PREFIX}shared-*"))
    assert resume_run(run).counts.statuses == {"ok": ROWS}
    assert {path: path.stat().st_mtime_ns for path in finished} == finished

    assert len(read_table(find_finished_tables(run))) == ROWS
    rows = {name.removeprefix("set-"): row for name, row in read_rows(run).items()}
    for number, (picture, sound) in enumerate(media):
        assert rows[f"r{number}"]["image_sha256"] == sha256(picture).hexdigest()
        assert rows[f"r{number}"]["audio_sha256"] == sha256(sound).hexdigest()

    config = config_from_dict(RunConfig, RunFolder(open_storage(run)).read_description().configuration)
    close_cache(MediaCacheConfig(str(run), config.media_cache_bytes))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_killed_run_whose_data_set_is_gone_says_so_and_continues_when_it_is_back(media, tmp_path):
    source, run = write_parquet(tmp_path / "set.parquet", media), tmp_path / "run"
    start_and_kill(source, run)
    source.rename(tmp_path / "old")
    with pytest.raises(ManifestError, match=rf"source_missing: {source}: no such file"):
        resume_run(run)
    write_parquet(source, media[::-1])
    with pytest.raises(ManifestError, match=rf"source_changed: {source}: changed after the start of the run"):
        resume_run(run)
    (tmp_path / "old").rename(source)
    assert resume_run(run).counts.statuses == {"ok": ROWS}
