"""The disk fills up or becomes read-only during a run: it stops with one sentence, and `resume` finishes it."""

import hashlib
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from joyvasa.errors import JoyvasaError
from joyvasa.runtime.files import PARTIAL
from manifests.run.folder import RunFolder
from manifests.scratch import PREFIX
from manifests.storage import LocalStorage, open_storage
from pipelines.runs.generate import generate_videos
from pipelines.runs.resume import resume_run
from tests.media import fill_disk, read_frames
from tests.pipelines.runs.small_runs import SMALL, make_config, read_rows, write_example_pairs

pytestmark = pytest.mark.slow

# Strict, so that the resumed run gives the same bytes.
SETTINGS = ("metrics=all", "determinism=strict", "shard_size=2", "animation.batch_frames=5")
LIMIT_S = 240.0
PAGE = 4096


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Use one thread, as Ray actors do: bit-identical results need the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_example_pairs(tmp_path_factory.mktemp("inputs"), n_rows=4, side=192, seconds=0.4)


@pytest.fixture(scope="module")
def reference(manifest, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    assert generate_videos(manifest, run, make_config(*SETTINGS)).all_ok
    return run


def pages_of(run: Path) -> int:
    """Return the number of 4 kB pages of a run on a tmpfs, where every file uses whole pages."""
    return sum(-(-path.stat().st_size // PAGE) for path in run.rglob("*") if path.is_file())


@contextmanager
def disk(folder: Path, size: int = 64 << 20):
    """Mount a tmpfs; skip the test if that is not permitted."""
    folder.mkdir()
    done = mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    if done.returncode:
        pytest.skip(f"mounting a file system is not permitted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)


@contextmanager
def read_only(folder: Path):
    """Make a folder read-only for all processes."""
    assert mount("--bind", folder, folder).returncode == 0
    assert mount("-o", "remount,bind,ro", folder).returncode == 0
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def command(*arguments, **environment: str) -> subprocess.Popen:
    """Start `joyvasa` as a subprocess."""
    return subprocess.Popen(
        [sys.executable, "-c", "from pipelines.cli.main import main; main()", *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def options(executor: str = "local") -> list[str]:
    settings = [*SMALL, *SETTINGS, f"executor={executor}"]
    return [word for setting in settings for word in ("--set", setting)]


def expect_one_sentence(process: subprocess.Popen) -> str:
    """Wait for the process to fail and return its error sentence."""
    _, errors = process.communicate(timeout=LIMIT_S)
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert process.returncode == 1, errors
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


def expect_only_complete_files(run: Path) -> None:
    """Check that visible files are complete; hidden partial files may remain until the run is resumed."""
    for video in run.rglob("[!.]*.mp4"):
        assert len(read_frames(video)) == 10
    folder = RunFolder(open_storage(run))
    for number, mark in folder.read_done_markers().items():
        content = (run / folder.records_path(number)).read_bytes()
        assert hashlib.sha256(content).hexdigest() == mark.records_sha256


def expect_same_rows(run: Path, reference: Path) -> None:
    """Compare the outcome rows, except for attempts and times."""
    rows, expected = read_rows(run), read_rows(reference)
    assert rows.keys() == expected.keys()
    for name, row in expected.items():
        for column in row.keys() - {"attempts"}:
            assert column.startswith("seconds_") or rows[name][column] == row[column], (name, column)
        assert hashlib.sha256((run / row["video"]).read_bytes()).hexdigest() == row["sha256"]
    assert not [path for path in run.rglob("*") if path.name.startswith(PARTIAL)]
    videos = {str(path.relative_to(run)) for path in run.rglob("*.mp4")}
    assert videos == {row["video"] for row in expected.values()}


def finish(manifest: Path, run: Path, **environment: str) -> None:
    """Resume the run, or start it if `run.yaml` could not be written."""
    arguments = ["resume", run] if (run / "run.yaml").exists() else ["generate", manifest, "--out", run, *options()]
    process = command(*arguments, **environment)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("part", [0.5, 0.02, 0.15, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_a_full_disk_stops_the_run_with_one_sentence_and_resume_finishes_it(manifest, reference, tmp_path, part):
    with disk(tmp_path / "disk", PAGE * max(1, int(part * pages_of(reference)))) as folder:
        sentence = expect_one_sentence(command("generate", manifest, "--out", folder / "run", *options()))
        assert "No space left" in sentence
        assert "free" in sentence
        expect_only_complete_files(folder / "run")
        assert mount("-o", "remount,size=64m", folder).returncode == 0
        finish(manifest, folder / "run")
        expect_same_rows(folder / "run", reference)


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_run_folder_that_becomes_read_only_stops_the_run(manifest, reference, tmp_path, executor):
    with disk(tmp_path / "disk") as folder:
        run = folder / "run"
        process = command("generate", manifest, "--out", run, *options(executor), "--set", "stages.render.batch_size=1")
        start = time.monotonic()
        while process.poll() is None and len(list(run.rglob("videos/[!.]*.mp4"))) < 2:
            assert time.monotonic() - start < LIMIT_S
            time.sleep(0.02)
        with read_only(run):
            assert "Read-only" in expect_one_sentence(process)
            expect_only_complete_files(run)
            assert "Read-only" in expect_one_sentence(command("resume", run))
        finish(manifest, run)
        expect_same_rows(run, reference)


@pytest.mark.parametrize(("executor", "free_pages"), [("local", 2), ("ray", 2)])  # space for the rows
def test_a_full_temporary_folder_stops_the_run(manifest, reference, tmp_path, executor, free_pages):
    with disk(tmp_path / "disk") as folder:  # without any free space Python would use another folder
        (folder / "reserve").write_bytes(bytes(PAGE * free_pages))
        fill_disk(folder)
        (folder / "reserve").unlink()
        environment = {"TMPDIR": str(folder), "RAY_TMPDIR": "/tmp"}
        run = tmp_path / "run"
        process = command("generate", manifest, "--out", run, *options(executor), **environment)
        sentence = expect_one_sentence(process)
        assert "free" in sentence
        assert PREFIX in sentence
        expect_only_complete_files(run)
        events = (run / "events.jsonl").read_text()
        assert "record_rejected" not in events
        (folder / "filler").unlink()
        finish(manifest, run, **environment)
        expect_same_rows(run, reference)
        assert not list(folder.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("whole", range(11))
def test_a_run_can_be_resumed_whichever_file_did_not_fit(manifest, reference, tmp_path, monkeypatch, whole):
    """Without mounting a disk: files after the first `whole` are written to a device that is always full."""
    run, stage, staged = tmp_path / "run", LocalStorage._stage, []

    @contextmanager
    def full(self, path):
        with stage(self, path) as target:
            staged.append(path)
            if len(staged) > whole:
                target.unlink(missing_ok=True)
                target.symlink_to("/dev/full")
            yield target

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "_stage", full)
        with pytest.raises(JoyvasaError, match="No space left") as error:
            generate_videos(manifest, run, make_config(*SETTINGS))
        assert "\n" not in str(error.value)
        assert staged[whole] in str(error.value), "the first file that did not fit is the reason"
    expect_only_complete_files(run)
    result = resume_run(run) if (run / "run.yaml").exists() else generate_videos(manifest, run, make_config(*SETTINGS))
    assert result.all_ok
    expect_same_rows(run, reference)
