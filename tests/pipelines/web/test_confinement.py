"""Nothing outside of the root can be read, by any path or link."""

import os

import pytest

from joyvasa.errors import ConfigError
from pipelines.web.confinement import ConfinedStorage, RunsRoot, find_runs, open_run
from pipelines.web.limits import Limits


@pytest.fixture
def root(tmp_path):
    """A root with a run, and a secret outside of it that links of the run point to."""
    secret = tmp_path / "secret"
    (secret / "shards/00000").mkdir(parents=True)
    for name in ("secret.mp4", "run.yaml", "manifest.parquet"):
        (secret / name).write_bytes(b"secret")
    run = tmp_path / "root/a/run"
    (run / "shards/00000/videos").mkdir(parents=True)
    (run / "report").mkdir()
    for name in ("run.yaml", "manifest.parquet", "shards/00000/videos/x.mp4", "report/index.html", "other.txt"):
        (run / name).write_bytes(b"shown")
    (run / "shards/00000/videos/link.mp4").symlink_to(secret / "secret.mp4")
    (run / "shards/00000/videos/inner.mp4").symlink_to("x.mp4")
    (run / "shards/00001").symlink_to(secret / "shards/00000")
    (run / "loop").symlink_to("loop")
    (tmp_path / "root/outside").symlink_to(secret)
    return RunsRoot(str(tmp_path / "root"))


@pytest.mark.parametrize(
    "path",
    [
        "../secret/secret.mp4",
        "a/../../secret/secret.mp4",
        "a/run/shards/00000/videos/link.mp4",
        "outside/secret.mp4",
        "a/run/shards/00000/videos/../../../../../../secret/secret.mp4",
        "a/run/loop",
        "a/run/x\0.mp4",
        "",
    ],
)
def test_no_path_leaves_the_root(root, path):
    assert root.shown_file(path) is None


def test_names_that_no_browser_can_show_do_not_hide_the_other_runs(root):
    odd = os.fsencode(root.folder) + b"/odd\xff"
    os.mkdir(odd)
    for name in ("run.yaml", "manifest.parquet"):
        os.link(root.folder / "a/run" / name, odd + b"/" + name.encode())
    assert [run.path for run in find_runs(root, Limits())] == ["a/run"]
    with pytest.raises(ConfigError, match=r"root_invalid: .*/odd\\udcff: its path is not UTF-8"):
        RunsRoot(os.fsdecode(odd))


def test_absolute_paths_are_refused(root, tmp_path):
    assert root.find(str(tmp_path / "secret/secret.mp4")) is None
    assert root.find(str(tmp_path / "root/a/run/other.txt")) is None


def test_videos_and_reports_are_shown_and_nothing_else(root):
    for path in ("a/run/shards/00000/videos/x.mp4", "a/run/shards/00000/videos/inner.mp4", "a/run/report/index.html"):
        assert root.shown_file(path).read_bytes() == b"shown"
    for path in ("a/run/run.yaml", "a/run/other.txt", "a/run", "a/report/index.html"):
        assert root.shown_file(path) is None


def test_a_page_outside_of_a_run_is_not_shown(root):
    (root.folder / "report").mkdir()
    (root.folder / "report/index.html").write_bytes(b"no run here")
    assert root.shown_file("report/index.html") is None


def test_the_files_of_a_run_are_read_only_below_the_root(root):
    storage = ConfinedStorage(root, "a/run")
    assert storage.read("run.yaml") == b"shown"
    assert storage.exists("shards/00000/videos/x.mp4")
    for path in ("shards/00000/videos/link.mp4", "../../../secret/run.yaml", "/etc/hostname", "shards/00001"):
        with pytest.raises(FileNotFoundError):
            storage.path(path)


def test_runs_are_found_without_following_links(root):
    assert [run.path for run in find_runs(root, Limits())] == ["a/run"]
    assert open_run(root, "a/run") is not None
    assert open_run(root, "outside") is None
    assert open_run(root, "a/run/../../../secret") is None
    assert open_run(root, "a") is None


def test_the_search_for_runs_is_bounded(root, tmp_path):
    deep = tmp_path / "root/1/2/3/4/5"
    deep.mkdir(parents=True)
    for name in ("run.yaml", "manifest.parquet"):
        (deep / name).touch()
    assert [run.path for run in find_runs(root, Limits(depth=4))] == ["a/run"]
    assert len(find_runs(root, Limits(depth=5))) == 2
    assert find_runs(root, Limits(folders=1)) == []
    assert len(find_runs(root, Limits(depth=5, runs=1))) == 1


def test_the_newest_run_comes_first(root, tmp_path):
    newer = tmp_path / "root/newer"
    newer.mkdir()
    for name in ("run.yaml", "manifest.parquet"):
        (newer / name).touch()
    os.utime(root.folder / "a/run/run.yaml", (1, 1))
    assert [run.path for run in find_runs(root, Limits())] == ["newer", "a/run"]


@pytest.mark.parametrize("folder", ["s3://bucket/runs", "/no/such/folder"])
def test_a_root_that_is_no_local_folder_is_refused(folder):
    with pytest.raises(ConfigError) as caught:
        RunsRoot(folder)
    assert caught.value.code == "root_invalid"
