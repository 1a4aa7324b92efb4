import json
import os
from collections import Counter
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.manifest import open_manifest, resolve_location
from manifests.media_files import MediaFileCheck
from manifests.problems import ManifestError, safe_text
from manifests.record import derive_record_id, speech_path
from manifests.run.manifest_file import MANIFEST, RunManifest, write_manifest
from manifests.scan import Scan
from manifests.speech import Voices
from manifests.storage import open_storage
from tests.http_server import serve_http
from tests.manifests.tables import FORMATS, copied, find_problems, pair, scanned, shards_of, write

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
        problems = find_problems(scan)
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
    with MediaFileCheck(remote=True) as check:
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


def test_part_files_may_have_different_types_of_numbers(tmp_path):
    write(tmp_path / "set/a.parquet", [pair(0, score=1)])
    write(tmp_path / "set/b.parquet", [pair(1, score=1.5)])
    (shard,) = shards_of(copied(tmp_path / "set", tmp_path / "run"))
    assert shard.extra.column("score").to_pylist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (1, "one", r"the files of the manifest disagree about a column \(.*score"),
        (2**53 + 1, 1.5, r"a\.parquet: column score is int64, and double in all files together, which cannot hold its"),
    ],
)
def test_values_without_a_common_type_are_refused_by_every_reader(tmp_path, first, second, sentence):
    write(tmp_path / "set/a.parquet", [pair(0, score=first)])
    write(tmp_path / "set/b.parquet", [pair(1, score=second)])
    with pytest.raises(ManifestError, match=f"manifest_columns: {sentence}"):
        copied(tmp_path / "set", tmp_path / "run")
    with pytest.raises(ManifestError, match=f"manifest_columns: {sentence}"):
        list(Scan(open_manifest(tmp_path / "set")).blocks(extra=True))


def test_the_types_of_json_lines_are_those_of_all_files(tmp_path):
    for name, note in (("a", 1), ("b", "one"), ("c", [1])):
        write(tmp_path / f"set/{name}.jsonl", [pair(ord(name), note=note)])
    (shard,) = shards_of(copied(tmp_path / "set", tmp_path / "run"))
    assert shard.extra.column("note").to_pylist() == ["1", '"one"', "[1]"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_of_folders_give_columns(tmp_path, suffix):
    write(tmp_path / f"set/mode=animal/voice=a%2Fb/p.{suffix}", [pair(0, note="x"), pair(1, note="y", voice="own")])
    write(tmp_path / f"set/mode=human/voice=__HIVE_DEFAULT_PARTITION__/p.{suffix}", [pair(2, note="z")])
    write(tmp_path / f"set/other/p.{suffix}", [pair(3)])
    (shard,) = shards_of(copied(tmp_path / "set", tmp_path / "run"))
    assert [(record.id, record.mode) for record in shard.records] == [
        ("r0000", "animal"),
        ("r0001", "animal"),
        ("r0002", "human"),
    ]
    assert shard.extra.column("note").to_pylist() == ["x", "y", "z"]
    assert shard.records[0].image == f"{tmp_path}/set/p0.png"


def test_the_columns_of_folders_are_text_where_files_lack_them(tmp_path):
    write(tmp_path / "set/voice=a%2Fb/p.parquet", [pair(0)])
    write(tmp_path / "set/voice=__HIVE_DEFAULT_PARTITION__/p.parquet", [pair(1)])
    (shard,) = shards_of(copied(tmp_path / "set", tmp_path / "run"))
    assert shard.extra.column("voice").to_pylist() == [None, "a/b"]


def test_a_bad_value_of_a_folder_is_a_problem_of_each_row(tmp_path):
    write(tmp_path / "set/mode=fish/p.csv", [pair(0)])
    _, (problem,), _ = scanned(tmp_path / "set")
    assert (problem.place, problem.code, problem.value) == ("mode=fish/p.csv, line 2", "unknown_mode", "fish")


@pytest.mark.parametrize(
    "name", ["m.csv", "m.jsonl", "m.parquet", "m.arrow", "m.tar", "state.json", "dataset_dict.json"]
)
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ManifestError, match=r"manifest_unreadable: .*not a regular file"):
        scanned(tmp_path)


def test_a_manifest_in_a_folder_with_two_colons_is_read(tmp_path):
    records, problems, _ = scanned(write(tmp_path / "a::b" / "m.csv", [pair(0, image="c::d.png")]))
    assert (problems, records[0].image) == ([], f"{tmp_path}/a::b/c::d.png")


@pytest.mark.parametrize("start", ["file://", "file:", "file://localhost"])
def test_file_uris_are_percent_encoded(tmp_path, start):
    path = write(tmp_path / "my set" / "m.csv", [pair(0, image=f"{start}/my%20pic.png")])
    records, problems, _ = scanned(start + str(path).replace(" ", "%20"))
    assert (problems, records[0].image) == ([], "/my pic.png")


class _PlainServer(BaseHTTPRequestHandler):
    """A server without ranges that returns the query of an address with its status."""

    content = b""

    def do_GET(self):
        status = int(self.path.partition("?")[2] or 200)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(self.content)

    do_HEAD = do_GET  # noqa: N815 (name required by the base class)

    def log_message(self, *_):
        pass


@pytest.fixture
def web(monkeypatch):
    with serve_http(_PlainServer) as address:

        def serve(content):
            monkeypatch.setattr(_PlainServer, "content", content)
            return address

        yield serve


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_manifest_is_read_from_a_server_without_ranges(tmp_path, web, suffix):
    rows = [pair(n, note='<a href="https://host/page.html">', image="https://host/p.png") for n in range(3)]
    address = web(write(tmp_path / f"m.{suffix}", rows).read_bytes())
    records, problems, _ = scanned(f"{address}/set/m.{suffix}")
    assert (len(records), problems) == (3, [])
    assert records[1].audio == f"{address}/set/s1.wav"


def test_an_arrow_file_is_read_from_a_server_without_ranges(tmp_path, web):
    import pyarrow as pa

    table = pa.table({"image": [b"picture", b"p"], "audio": ["s.wav", "t.wav"]})
    with pa.ipc.new_stream(tmp_path / "m.arrow", table.schema) as file:
        file.write_table(table)
    address = web((tmp_path / "m.arrow").read_bytes())
    records, problems, _ = scanned(f"{address}/set/m.arrow")
    assert problems == []
    assert [record.image for record in records] == [f"cell://image/{row}::{address}/set/m.arrow" for row in (1, 2)]
    assert records[1].audio == f"{address}/set/t.wav"


@pytest.mark.parametrize(("status", "code"), [(404, "manifest_missing"), (403, "manifest_unreadable")])
def test_the_refusal_of_a_server_is_stated(web, status, code):
    with pytest.raises(ManifestError, match=rf"{code}: .*(no such file|{status})"):
        scanned(f"{web(b'')}/m.csv?{status}")


def test_a_text_is_spoken_only_in_rows_without_sound_and_decides_their_id(tmp_path):
    rows = [
        {"image": "a.png", "text": "Hello"},
        {"image": "a.png", "text": "Hello there"},
        {"image": "a.png", "text": "Hello", "audio": "a.wav"},
        {"image": "a.png", "text": " ", "audio": None},
        {"image": "a.png", "text": "x" * 10_001},
    ]
    for suffix in FORMATS:
        scan = Scan(open_manifest(write(tmp_path / f"m.{suffix}", rows)), voices=Voices())
        (block,) = scan.blocks(extra=True)
        assert [record and record.text for record in block.records] == ["Hello", "Hello there", None, None, None]
        assert len({record.id for record in block.records[:3]}) == 3
        assert [(problem.column, problem.code) for problem in block.problems] == [
            ("audio", "missing_value"),
            ("text", "too_long"),
        ]
        found = [
            [problem.code for block in Scan(open_manifest(tmp_path / f"m.{suffix}")).blocks(extra=extra)
             for problem in block.problems]
            for extra in (False, True)
        ]  # fmt: skip
        assert found[0] == found[1]
        assert set(found[0]) == {"text_without_sound", "missing_value"}


def test_a_row_to_speak_names_the_file_of_its_speech_in_the_run_folder(tmp_path):
    write(
        tmp_path / "m.csv", [{"image": "a.png", "text": "Hello", "audio": None}, {"image": "a.png", "audio": "a.wav"}]
    )
    (tmp_path / "run").mkdir()
    write_manifest(Scan(open_manifest(tmp_path / "m.csv"), voices=Voices()), tmp_path / "run" / MANIFEST)
    first, second = RunManifest(open_storage(tmp_path / "run")).read_shard(0).records
    assert (first.text, first.audio) == ("Hello", str(tmp_path / "run" / speech_path("Hello")))
    assert (second.text, second.audio) == (None, str(tmp_path / "a.wav"))


def test_the_voice_of_a_row_to_speak_is_checked_and_decides_its_id_and_its_speech(tmp_path):
    rows = [
        {"image": "a.png", "text": "Hello"},
        {"image": "a.png", "text": "Hello", "voice": "slt"},
        {"image": "a.png", "text": "Hello", "voice": "rms"},
        {"image": "a.png", "text": "Hello", "voice": "anna"},
        {"image": "a.png", "text": "Hello", "voice": "anna", "audio": "a.wav"},
    ]
    for suffix in FORMATS:
        path = write(tmp_path / f"m.{suffix}", rows)
        (block,) = Scan(open_manifest(path), voices=Voices(("slt", "rms"), "slt")).blocks()
        assert [record and record.voice for record in block.records] == [None, "slt", "rms", None, None]
        assert len({record.id for record in block.records if record}) == 4
        (problem,) = block.problems
        assert problem.text.startswith("voice 'anna' is no voice of the speech synthesizer; expected one of slt, rms")

    (tmp_path / "run").mkdir()
    write_manifest(Scan(open_manifest(path), voices=Voices(None, "x")), tmp_path / "run" / MANIFEST)
    records = RunManifest(open_storage(tmp_path / "run")).read_shard(0).records
    assert [record.voice for record in records] == [None, "slt", "rms", "anna", None]
    assert len({record.audio for record in records}) == 5


@pytest.mark.parametrize(
    ("voices", "voice", "code"),
    [
        (Voices(None), None, "missing_value"),
        (Voices(None, "a"), None, None),
        (Voices(None), "en_US-lessac-medium", None),
        (Voices(None), "--help", "voice_unknown"),
        (Voices(None), "/etc/passwd", "voice_unknown"),
        (Voices(), None, None),
        (Voices(), "a", "voice_unknown"),
    ],
)
def test_voices_are_names_that_the_command_can_use(tmp_path, voices, voice, code):
    rows = [{"image": "a.png", "text": "Hello", "voice": voice}]
    (block,) = Scan(open_manifest(write(tmp_path / "m.parquet", rows)), voices=voices).blocks()
    assert [problem.code for problem in block.problems] == ([code] if code else [])


def test_the_numbers_of_speakers_are_voices(tmp_path):
    rows = [{"image": "a.png", "text": "Hello", "voice": number} for number in (3, 0)]
    (block,) = Scan(open_manifest(write(tmp_path / "m.parquet", rows)), voices=Voices(None)).blocks()
    assert [record.voice for record in block.records] == ["3", "0"]
