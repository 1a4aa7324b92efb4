import json

import fsspec
import pytest

from manifests.file_tree import build_video_manifest, find_videos
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.scan import Scan
from tests.manifests.tables import write


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.MOV", "sub/c.mkv", "sub/notes.txt", ".hidden/d.mp4", "e.jpg"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "videos"


def rows(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def test_videos_in_a_folder_have_their_relative_paths_as_ids(folder):
    videos = rows(build_video_manifest(str(folder)))
    assert [row["record_id"] for row in videos] == ["a.MOV", "b.mp4", "sub/c.mkv"]
    assert videos[0]["video"] == str(folder / "a.MOV")


def test_a_glob_and_a_single_file_are_accepted(folder):
    assert [row["record_id"] for row in rows(build_video_manifest(f"{folder}/*.m*"))] == ["b.mp4"]
    assert [row["record_id"] for row in rows(build_video_manifest(f"{folder}/**/*.mkv"))] == ["c.mkv"]
    assert [row["video"] for row in rows(build_video_manifest(str(folder / "b.mp4")))] == [str(folder / "b.mp4")]


def test_relative_paths_become_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert find_videos("videos")["b.mp4"] == str(folder / "b.mp4")


def test_a_bucket_gives_uris():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/talks/a.mp4": b"x", "/talks/sub/b.webm": b"x"})
    assert [*find_videos("memory://talks").values()] == ["memory:///talks/a.mp4", "memory:///talks/sub/b.webm"]


def test_a_manifest_is_not_a_video_source(folder):
    assert find_videos(str(folder))
    assert find_videos("talks/*.mp4") is not None
    assert find_videos("videos.csv") is None
    tables = folder.parent / "tables"
    tables.mkdir()
    (tables / "part.csv").write_text("video\na.mp4\n")
    assert find_videos(str(tables)) is None
    assert build_video_manifest(str(tables)) is None


def test_no_video_gives_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match="no video found"):
        build_video_manifest(str(tmp_path / "*.mp4"))


def test_unusual_names_are_accepted_or_reported_by_row(folder):
    (folder / "ü 1, 'x'.mp4").write_bytes(b"x")
    (folder / "line\nbreak.mp4").write_bytes(b"x")
    manifest = folder.parent / "videos.jsonl"
    manifest.write_bytes(build_video_manifest(str(folder)))
    scan = Scan(open_manifest(manifest), videos=True)
    records = [record.id for block in scan.blocks() for record in block.records if record]
    assert "ü 1, 'x'.mp4" in records
    assert scan.summary.bad_rows == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_without_the_column_of_videos_is_refused_once_and_not_by_row(tmp_path, suffix):
    rows = write(tmp_path / f"m.{suffix}", [{"image": "p.png", "audio": "s.wav", "vidoe": "v.mp4"}] * 3)
    with pytest.raises(ManifestError, match=r"manifest_columns: .*image, audio, vidoe; expected video: rename or add"):
        [*Scan(open_manifest(rows), videos=True).blocks()]


def test_a_row_without_a_video_is_asked_for_a_video_and_nothing_else(tmp_path):
    rows = write(tmp_path / "m.jsonl", [{"file_name": "a.mp4"}, {"file_name": "b.mp4", "image": "p.png", "video": ""}])
    problems = [problem for block in Scan(open_manifest(rows), videos=True).blocks() for problem in block.problems]
    assert [(problem.row, problem.column) for problem in problems] == [(1, "video"), (2, "video")]
