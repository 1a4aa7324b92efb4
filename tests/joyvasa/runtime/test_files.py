"""Files and folders are written atomically."""

import hashlib
import os
import subprocess
import sys

import pytest

from joyvasa.errors import OutputError
from joyvasa.runtime.files import PARTIAL, atomic_file, atomic_folder, atomic_write, hash_file, output_errors


def fail(*_):
    raise OSError(28, "disk full")


def test_a_file_appears_when_it_is_complete_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "clip.mp4"
    atomic_write(path, b"old")
    with atomic_file(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(PARTIAL)
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    atomic_write(path, b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_exception_in_the_block_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "file") as temporary:
        temporary.write_bytes(b"0" * (1 // 0))
    assert os.listdir(tmp_path) == []


def test_a_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "reference").touch()
    with atomic_file(tmp_path / "file") as temporary:
        temporary.unlink()  # like writers that replace the file with a private one
        os.close(os.open(temporary, os.O_CREAT, 0o600))
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "reference").stat().st_mode


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")
    atomic_write(path, b"{}")
    assert path.read_bytes() == b"{}"


def test_a_folder_appears_when_it_is_complete_and_replaces_an_empty_one(tmp_path):
    path = tmp_path / "parent/bundle"
    path.mkdir(parents=True)
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("a")
        assert os.listdir(path) == []
    assert os.listdir(path) == ["a"]
    assert os.listdir(path.parent) == ["bundle"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "bundle") as temporary:
        (temporary / "a").write_bytes(b"0" * (1 // 0))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(28, "disk_full"), (122, "disk_full"), (30, "output_unwritable")])
def test_errors_of_full_and_read_only_disks_are_one_sentence(tmp_path, number, code):
    with pytest.raises(OutputError, match=rf"{code}: .*out\.mp4: ") as caught, output_errors(tmp_path / "out.mp4"):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value.__cause__, OSError)


def test_the_hash_is_that_of_the_content(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_importing_files_loads_no_heavy_library():
    code = "import sys, joyvasa.runtime.files; sys.exit(bool({'torch', 'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
