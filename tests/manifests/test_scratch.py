import shutil
import subprocess
import sys
import tempfile

import pytest

from manifests.scratch import PREFIX, scratch_folder, sweep_scratch

HOLD = """
import sys
from manifests.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "video.mp4").write_bytes(b"half")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_removed_after_its_block_even_if_it_raises(temporary):
    def fail():
        with scratch_folder() as folder:
            (folder / "file").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(temporary.iterdir())


def test_only_folders_of_killed_processes_are_removed(temporary):
    (temporary / "joyvasa-of-another-user").mkdir()
    (temporary / f"{PREFIX}file").write_text("no folder")
    (temporary / f"{PREFIX}link").symlink_to(temporary / "joyvasa-of-another-user")
    others = {path.name for path in temporary.iterdir()}
    with (
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
        scratch_folder() as own,
    ):
        used = child.stdout.readline().decode().strip()
        sweep_scratch()
        assert {path.name for path in temporary.iterdir()} == others | {own.name, used}
        child.kill()
        child.wait(30)
        assert (temporary / used / "video.mp4").exists()
        sweep_scratch()
        assert {path.name for path in temporary.iterdir()} == others | {own.name}


def test_what_a_second_ctrl_c_leaves_is_removed_by_the_next_sweep(temporary, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    def write():
        with scratch_folder() as folder:
            (folder / "video.mp4").write_bytes(b"half")
            patch.setattr(shutil, "rmtree", interrupt)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        write()
    assert len([*temporary.iterdir()]) == 1
    sweep_scratch()
    assert not [*temporary.iterdir()]


def test_the_command_line_leaves_no_scratch_folder_of_a_stage_that_was_interrupted(temporary):
    code = """
from contextlib import ExitStack
from joyvasa.errors import InputError
from manifests.scratch import scratch_folder
from pipelines.cli import main
def app():
    open_files = ExitStack()
    (open_files.enter_context(scratch_folder()) / "video.mp4").write_bytes(b"half")
    raise InputError("interrupted", "by the test")
main.app = app
main.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "error: interrupted: by the test\n")
    assert not [*temporary.iterdir()]
