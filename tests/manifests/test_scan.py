import json
import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import ManifestError
from manifests.manifest import open_manifest, resolve_location
from manifests.media_files import MediaFileCheck, MediaFileCheckConfig
from manifests.problems import safe_text
from manifests.record import derive_record_id
from manifests.scan import Scan
from tests.manifests.tables import FORMATS, pair, scanned, write

BAD_VALUES = [
    ("image", "", "missing_value"),
    ("image", "  ", "missing_value"),
    ("image", "a\nb.png", "control_character"),
    ("audio", "a" * 5000, "too_long"),
    ("audio", None, "missing_value"),
    ("mode", "Human", "unknown_mode"),
    ("mode", "robot", "unknown_mode"),
    ("seed", "-1", "out_of_range"),
    ("seed", str(2**63), "out_of_range"),
    ("seed", "1.5", "wrong_type"),
    ("seed", "seven", "wrong_type"),
    ("cfg_scale", "nan", "out_of_range"),
    ("cfg_scale", "-0.1", "out_of_range"),
    ("cfg_scale", "1e9", "out_of_range"),
    ("cfg_scale", "2,8", "wrong_type"),
    ("priority", str(2**31), "out_of_range"),
    ("record_id", "a\x1b[31m", "control_character"),
    ("record_id", "x" * 1001, "too_long"),
    ("record_id", "r0000", "duplicate_record_id"),
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("column", "value", "code"), BAD_VALUES)
def test_a_bad_value_is_reported_with_row_column_and_reason(tmp_path, suffix, column, value, code):
    rows = [pair(0), {**pair(1), column: value}, pair(2)]
    records, problems, summary = scanned(write(tmp_path / f"m.{suffix}", rows))
    row = {"csv": 3, "jsonl": 2, "parquet": 2}[suffix]
    assert [(p.file, p.row, p.column, p.code) for p in problems] == [(f"m.{suffix}", row, column, code)]
    assert problems[0].value == safe_text("" if value is None else value)
    assert [record is None for record in records] == [False, True, False]
    assert summary.by_code == {code: 1}


@pytest.mark.parametrize("value", [True, [1], {"a": 1}, 1.5])
@pytest.mark.parametrize("column", ["image", "record_id", "seed", "cfg_scale", "priority", "mode"])
def test_json_values_of_wrong_types_are_reported(tmp_path, column, value):
    if (column, value) == ("cfg_scale", 1.5):
        return
    _, problems, _ = scanned(write(tmp_path / "m.jsonl", [{**pair(0), column: value}]))
    assert [(p.column, p.code) for p in problems] == [(column, "unknown_mode" if column == "mode" else "wrong_type")]


def test_all_bad_values_of_all_rows_are_reported(tmp_path):
    rows = [pair(n, seed="x", mode="y") if n % 2 else pair(n) for n in range(20_000)]
    _, problems, summary = scanned(write(tmp_path / "m.csv", rows))
    assert len(problems) == 20_000
    assert [p.row for p in problems[::2]] == list(range(3, 20_002, 2))
    assert (summary.rows, summary.bad_rows) == (20_000, 10_000)
    assert summary.by_code == {"wrong_type": 10_000, "unknown_mode": 10_000}


def test_good_rows_are_counted_by_mode(tmp_path):
    modes = ["human", "animal", None, "animal", "plant", "animal"]
    _, _, summary = scanned(write(tmp_path / "m.csv", [pair(n, mode=mode) for n, mode in enumerate(modes)]))
    assert summary.modes == {"animal": 3, "human": 2}
    assert summary.as_dict()["modes"] == {"animal": 3, "human": 2}


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_with_a_video_need_no_other_column_if_videos_are_required(tmp_path, suffix):
    rows = [{"video": "a.mp4"}, {"video": "b.mp4", "audio": "b.wav", "image": "b.png"}, pair(1)]
    scan = Scan(open_manifest(write(tmp_path / f"m.{suffix}", rows)), videos=True)
    (block,) = scan.blocks()
    first, second, third = block.records
    assert (first.video, first.image, first.audio) == (f"{tmp_path}/a.mp4", None, None)
    assert (second.video, second.image, second.audio) == tuple(f"{tmp_path}/{b}" for b in ("b.mp4", "b.png", "b.wav"))
    assert third is None
    assert [(problem.column, problem.code) for problem in block.problems] == [("video", "missing_value")]


def test_a_row_may_have_a_video_in_addition_to_a_pair_but_not_instead_of_one(tmp_path):
    rows = [pair(1, video="real.mp4"), {"record_id": "v", "video": "b.mp4"}]
    records, problems, _ = scanned(write(tmp_path / "m.csv", rows))
    assert records[0].video == str(tmp_path / "real.mp4")
    assert records[1] is None
    assert [problem.column for problem in problems] == ["image", "audio"]


def test_ids_of_rows_without_a_video_do_not_depend_on_the_column(tmp_path):
    records, _, _ = scanned(write(tmp_path / "m.csv", [{"image": "p.png", "audio": "s.wav", "video": None}]))
    assert records[0].id == derive_record_id('["p.png","s.wav",null,"human",null,null]')


def test_every_duplicate_names_the_row_that_came_first(tmp_path):
    rows = [pair(n) for n in range(20_000)]
    rows[19_000] = pair(3)
    rows[19_500] = pair(3, seed="x")
    _, problems, _ = scanned(write(tmp_path / "m.csv", rows))
    assert [(p.row, p.value) for p in problems if p.code == "duplicate_record_id"] == [
        (19_002, "r0003"),
        (19_502, "r0003"),
    ]
    assert all("line 5:" in p.sentence for p in problems if p.code == "duplicate_record_id")


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_second_of_two_equal_rows_without_ids_is_a_duplicate(tmp_path, suffix):
    row = {"image": "a.png", "audio": "b.wav"}
    rows = [row, {**row, "note": "other"}, {**row, "mode": "human"}, {**row, "seed": 1}]
    records, problems, _ = scanned(write(tmp_path / f"m.{suffix}", rows))
    assert [p.code for p in problems] == ["duplicate_record"] * 2
    assert [record is None for record in records] == [False, True, True, False]


def test_files_are_looked_up_once_and_reported_for_every_row(tmp_path, monkeypatch):
    for name, content in (("a.png", b"x"), ("b.wav", b"x"), ("empty.wav", b"")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.wav").mkdir()
    sounds = ["b.wav", "none.wav", "empty.wav", "folder.wav", "b.wav/x", "s3://bucket/c.wav", str(tmp_path / "b.wav")]
    rows = [pair(n, image="a.png", audio=sounds[n % 7]) for n in range(70)]
    lookups, stat = Counter(), os.stat
    with MediaFileCheck() as check:
        scan = Scan(open_manifest(write(tmp_path / "m.csv", rows)), files=check)
        monkeypatch.setattr(os, "stat", lambda path, **more: (lookups.update([str(path)]), stat(path, **more))[1])
        problems = list(scan.problems())
        monkeypatch.undo()
    assert scan.summary.by_code == {"file_missing": 20, "file_empty": 10, "file_not_regular": 10}
    assert {p.value: p.code for p in problems} == {
        "none.wav": "file_missing", "b.wav/x": "file_missing",
        "empty.wav": "file_empty", "folder.wav": "file_not_regular",
    }  # fmt: skip
    assert {lookups[str(tmp_path / name)] for name in ("a.png", "b.wav", "none.wav")} == {1}


def test_remote_files_are_looked_up_on_request():
    import fsspec

    fsspec.filesystem("memory").pipe_file("/check/a.wav", b"x")
    paths = ["memory://check/a.wav", "memory://check/none.wav"]
    with MediaFileCheck(MediaFileCheckConfig(remote=True)) as check:
        assert [fault and fault.code for fault in check.check(paths)] == [None, "file_missing"]
    with MediaFileCheck() as check:
        assert check.check(paths) == [None, None]


def test_a_remote_manifest_is_read_and_its_paths_are_relative_to_it(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for suffix in FORMATS:
        local = write(tmp_path / f"m.{suffix}", [pair(n) for n in range(3)])
        memory.pipe_file(f"/set/m.{suffix}", local.read_bytes())
        records, problems, _ = scanned(f"memory://set/m.{suffix}")
        assert (len(records), problems) == (3, [])
        assert {record.image for record in records} == {f"memory://set/p{n}.png" for n in range(3)}


@pytest.mark.parametrize(
    ("folder", "path", "expected"),
    [
        ("/data/set", "a.png", "/data/set/a.png"),
        ("/data/set", "../b/./a.png", "/data/b/a.png"),
        ("/data/set", "/x/a.png", "/x/a.png"),
        ("/data/set", "s3://bucket/a.png", "s3://bucket/a.png"),
        ("/data/set", "file:///x/a.png", "/x/a.png"),
        ("s3://bucket/set", "a/b.png", "s3://bucket/set/a/b.png"),
        ("s3://bucket/set", "../b.png", "s3://bucket/b.png"),
        ("s3://bucket/set", "/x/a.png", "/x/a.png"),
        ("s3://bucket/set", "https://host/a.png", "https://host/a.png"),
    ],
)
def test_paths_are_relative_to_the_manifest_unless_absolute(folder, path, expected):
    assert resolve_location(folder, path) == expected


def test_a_folder_of_tables_is_one_manifest(tmp_path):
    for part in range(3):
        write(tmp_path / f"part-{part}.parquet", [pair(10 * part + n) for n in range(4)])
    (tmp_path / "_SUCCESS").touch()
    write(tmp_path / "_hidden.parquet", [pair(99)])
    records, problems, _ = scanned(tmp_path)
    assert [record.id for record in records] == [f"r{10 * part + n:04d}" for part in range(3) for n in range(4)]
    assert problems == []
    write(tmp_path / "part-3.parquet", [pair(11)])
    _, (problem,), _ = scanned(tmp_path)
    assert (problem.file, problem.row) == ("part-3.parquet", 1)
    assert "row 2 of part-1.parquet" in problem.sentence


@pytest.mark.parametrize("names", [[], ["a.csv", "b.parquet"]])
def test_a_folder_with_several_formats_or_none_is_refused(tmp_path, names):
    for name in names:
        write(tmp_path / name, [pair(0)])
    with pytest.raises(ManifestError, match="manifest_format"):
        open_manifest(tmp_path)


def test_a_column_with_almost_a_standard_name_is_noted(tmp_path):
    _, _, summary = scanned(write(tmp_path / "m.csv", [pair(0, **{"CFG-Scale": "2", "speaker": "x"})]))
    assert summary.notes == ["column CFG-Scale is passed through; rename it if cfg_scale is meant"]


@given(st.text(max_size=300))
def test_reported_values_are_short_and_contain_no_control_characters(value):
    text = safe_text(value)
    assert len(text) <= 60
    assert text.isprintable()
    json.dumps(text).encode()
