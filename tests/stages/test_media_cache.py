"""The cache of media: files are made once, the oldest unused ones are removed, the last process removes the folder."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from manifests.scratch import SharedScratch, sweep_scratch
from stages import media_cache
from stages.media_cache import PARTIAL, MediaCache, MediaCacheConfig, close_cache, open_cache


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def cache(temporary):
    cache = MediaCache(MediaCacheConfig("run", max_bytes=1600))
    yield cache
    cache.close()


def make(content, made):
    def write(path):
        made.append(content)
        path.write_bytes(content)

    return write


def keep(cache, key, content=b"a" * 300, made=None):
    with cache.entry(key, make(content, [] if made is None else made)) as path:
        return path.read_bytes()


def stored(cache):
    return {path.name.partition("-")[2] for path in cache.folder.iterdir() if not path.name.startswith(".")}


def test_a_file_is_made_once_for_all_threads(cache):
    made = []

    def slow(path):
        time.sleep(0.05)
        make(b"content", made)(path)

    def read():
        with cache.entry("https://host/a.png", slow) as path:
            assert path.read_bytes() == b"content"
            assert path.name.endswith("-host_a.png")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [b"content"]


def test_a_file_that_could_not_be_made_leaves_nothing_and_is_made_again(cache):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"), cache.entry("k", fail):
        pass
    assert not [path for path in cache.folder.iterdir() if not path.name.startswith(".lock")]
    assert keep(cache, "k", b"whole") == b"whole"


def test_the_files_used_longest_ago_are_removed(cache):
    for number in range(5):
        keep(cache, f"k{number}")
        os.utime(cache._path(f"k{number}"), ns=(number, number))
    keep(cache, "k0")  # used again
    for number in range(5, 8):
        keep(cache, f"k{number}")
    assert "k0" in stored(cache)
    assert "k1" not in stored(cache)
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 1600


def test_a_file_in_use_stays_even_if_the_cache_is_too_small(temporary):
    cache = MediaCache(MediaCacheConfig("tiny", max_bytes=0))
    with cache.entry("a", make(b"a", [])) as first, cache.entry("b", make(b"b", [])) as second:
        assert (first.read_bytes(), second.read_bytes()) == (b"a", b"b")
    keep(cache, "c")
    assert stored(cache) == {"c"}
    cache.close()


def test_a_full_disk_empties_the_cache_before_it_fails(cache):
    keep(cache, "old")

    def write(path):
        if "old" in stored(cache):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(b"new")

    with cache.entry("new", write) as path:
        assert path.read_bytes() == b"new"
    with pytest.raises(OSError, match="No space left"), cache.entry("other", always_full):
        pass


def always_full(path):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_partial_file_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(cache):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (cache.folder / f"{PARTIAL}{pid}-ab" for pid in (ended.pid, os.getpid()))
    for path in (dead, alive):
        path.write_bytes(b"a" * 1000)
    keep(cache, "k")
    assert not dead.exists()
    assert alive.exists()


def test_processes_with_the_same_name_share_a_folder_that_the_last_one_removes(temporary):
    first, second, other = (SharedScratch(name) for name in ("run", "run", "other"))
    assert first.folder == second.folder != other.folder
    first.close()
    sweep_scratch()
    assert second.folder.exists()
    second.close()
    assert not second.folder.exists()
    other.close()


def test_the_folder_of_a_killed_process_is_swept(temporary):
    code = "from manifests.scratch import SharedScratch; import os; SharedScratch('run'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(temporary)}, check=False)
    (left,) = temporary.iterdir()
    sweep_scratch()
    assert not left.exists()


def test_a_folder_that_is_a_link_is_refused(temporary):
    scratch = SharedScratch("run")
    scratch.close()
    (temporary / "elsewhere").mkdir()
    scratch.folder.symlink_to(temporary / "elsewhere")
    with pytest.raises(OSError, match=str(scratch.folder)):
        SharedScratch("run")


def test_an_entry_that_another_process_makes_again_meanwhile_is_not_removed(tmp_path, monkeypatch):
    entry, again, real_lock = tmp_path / "entry", tmp_path / "again", media_cache.lock_unused
    entry.write_bytes(b"old")
    again.write_bytes(b"new")

    def replace_and_lock(handle):
        again.replace(entry)
        real_lock(handle)

    monkeypatch.setattr(media_cache, "lock_unused", replace_and_lock)
    assert not media_cache._remove_unused(str(entry))
    assert entry.read_bytes() == b"new"


def test_threads_that_open_a_cache_at_once_get_the_same_one(temporary, monkeypatch):
    config, opened, slow = MediaCacheConfig("threads"), [], MediaCache.__init__

    def open_slowly(self, config):
        time.sleep(0.05)
        slow(self, config)

    monkeypatch.setattr(MediaCache, "__init__", open_slowly)
    threads = [threading.Thread(target=lambda: opened.append(open_cache(config))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(cache) for cache in opened}) == 1
    close_cache(config)
    assert list(temporary.iterdir()) == []
    assert open_cache(config) is not opened[0]
    close_cache(config)
