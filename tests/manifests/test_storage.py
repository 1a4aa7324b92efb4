import errno
import os
import pickle
import re
import subprocess
import sys

import pytest

from joyvasa.runtime.files import PARTIAL
from manifests.problems import ManifestError
from manifests.storage import open_storage


def list_files(storage, folder=""):
    paths = []
    for name in storage.names(folder):
        path = f"{folder}/{name}" if folder else name
        paths += [path] if storage.exists(path) else list_files(storage, path)
    return paths


def test_files_are_written_read_listed_and_removed(storage):
    assert storage.names("a") == []
    assert storage.size("a/b.txt") is None
    storage.write("a/b.txt", b"one")
    storage.write("a/c/d.txt", b"two")
    storage.write("a/b.txt", b"three")
    assert storage.read("a/b.txt") == b"three"
    with storage.open("a/c/d.txt") as file:
        assert file.read() == b"two"
    assert storage.names("a") == ["b.txt", "c"]
    assert (storage.size("a/b.txt"), storage.exists("a"), storage.exists("a/c/d.txt")) == (5, False, True)
    storage.remove("a/c")
    storage.remove("a/none")
    assert list_files(storage) == ["a/b.txt"]


def test_a_missing_file_is_file_not_found(storage):
    for read in (storage.read, storage.open):
        with pytest.raises(FileNotFoundError):
            read("none.txt")


def test_a_file_appears_only_when_it_is_complete(storage):
    with storage.staging("videos/clip.mp4") as staged:
        staged.write_bytes(b"half")
        assert staged.suffix == ".mp4"
        assert not storage.exists("videos/clip.mp4")
        staged.write_bytes(b"whole")
    assert storage.read("videos/clip.mp4") == b"whole"
    assert not staged.exists()
    assert list_files(storage) == ["videos/clip.mp4"]


def test_an_exception_while_writing_leaves_only_the_old_file(storage):
    def raise_while_writing():
        with storage.staging("a.txt") as staged:
            staged.write_bytes(b"new")
            paths.append(staged)
            raise ZeroDivisionError

    paths = []
    storage.write("a.txt", b"old")
    with pytest.raises(ZeroDivisionError):
        raise_while_writing()
    assert storage.read("a.txt") == b"old"
    assert list_files(storage) == ["a.txt"]
    assert not paths[0].exists()


def test_a_full_disk_gives_one_sentence_and_leaves_no_file(storage):
    with pytest.raises(ManifestError, match=r"output_unwritable: .*a\.txt: .*No space left"), storage.staging("a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list_files(storage) == []


def test_a_storage_can_be_pickled(storage):
    storage.write("a.txt", b"x")
    assert pickle.loads(pickle.dumps(storage)).read("a.txt") == b"x"


def test_a_failed_upload_gives_one_sentence(s3_bucket):
    storage = open_storage(f"{s3_bucket}-none/run")
    with pytest.raises(ManifestError, match="output_unwritable"):
        storage.write("a.txt", b"x")


def test_a_folder_that_cannot_be_written_gives_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ManifestError, match="output_unwritable"):
        open_storage(tmp_path / "file").write("a/b.txt", b"x")


def test_a_failed_removal_gives_one_sentence(storage, monkeypatch):
    def fail(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(storage, "_remove", fail)
    with pytest.raises(ManifestError, match=r"output_unwritable: .*a\.txt.*Read-only"):
        storage.remove("a.txt")


def test_an_unknown_scheme_gives_one_sentence():
    with pytest.raises(ManifestError, match="storage_unknown"):
        open_storage("nowhere://run")


def test_without_s3fs_one_sentence_says_what_to_install():
    code = "import sys; sys.modules['s3fs'] = None\nfrom manifests.storage import open_storage; open_storage('s3://bucket/run')"
    error = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.splitlines()[-1]
    assert re.search(r"storage_unknown: s3://bucket/run: .*s3fs .*`make extras` .*'joyvasa\[s3\]'", error)


def test_a_killed_writer_leaves_only_a_partial_file(tmp_path):
    code = (
        "import os, sys\nfrom manifests.storage import open_storage\n"
        "with open_storage(sys.argv[1]).staging('a.mp4') as staged:\n"
        "    staged.write_bytes(b'half')\n    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    (name,) = open_storage(tmp_path).names("")
    assert name.startswith(PARTIAL)
    assert name.endswith("-a.mp4")


def test_a_store_that_does_not_answer_is_named():
    storage = open_storage("http://127.0.0.1:9/run")  # a port without a server
    with pytest.raises(OSError, match="Connect") as caught:
        storage.names("")
    assert caught.value.filename == "http://127.0.0.1:9/run"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_not_opened(tmp_path, make):
    """A named pipe would block for ever."""
    make(tmp_path / "run.yaml")
    for read in (open_storage(tmp_path).read, open_storage(tmp_path).open):
        with pytest.raises(OSError, match=r"not a regular file: .*run\.yaml"):
            read("run.yaml")


def test_a_root_is_writable_if_files_can_be_created_in_it(tmp_path):
    open_storage(tmp_path / "new/run").require_writable()
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(ManifestError, match=r"output_unwritable: .*Not a directory"):
            open_storage(root).require_writable()
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(ManifestError, match=r"output_unwritable: .*/folder\.parquet: .*Is a directory"):
        open_storage(tmp_path).require_writable("folder.parquet")
