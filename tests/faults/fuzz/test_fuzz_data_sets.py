"""Data sets, archives, conditions, controls and states of exports: used rightly or refused with one sentence."""

import io
import json
import math
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joyvasa.errors import JoyvasaError
from joyvasa.options import AnimationConfig
from manifests.expressions import NamedColumns, parse_condition
from manifests.file_tree import FileTree
from manifests.manifest import open_manifest
from manifests.option_columns import parse_variation
from manifests.scan import Scan
from manifests.storage import open_storage
from pipelines.runs.config import build_option_columns
from pipelines.runs.export.markers import HEADER, STATE, ExportMarkers
from pipelines.runs.export.plan import PlannedShard
from stages.media import local_file
from tests.faults.fuzz.checking import CELLS, check, parquet
from tests.faults.fuzz.fuzzing import ODD_VALUES, call, fuzz, mutated, mutated_tree
from tests.manifests.data_sets import FEATURES, MEDIA, hub_metadata, media_table
from tests.stages.archives import SUFFIXES, build_archive

pytestmark = pytest.mark.slow
OPTIONS = build_option_columns(AnimationConfig())


def arrow(table, kind="stream"):
    sink = io.BytesIO()
    with (pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file)(sink, table.schema) as file:
        file.write_table(table, max_chunksize=2)
    return sink.getvalue()


def tar(members):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


SET = media_table(5)
HUB = media_table(5, image="face", audio="speech").replace_schema_metadata(hub_metadata(FEATURES))
SAMPLES = [
    *[(f"{n}.{suffix}", suffix.encode()) for n in range(3) for suffix in ("png", "wav", "txt")],
    ("3.json", b'{"text": "x", "pose.yaw": 3}'), ("3.jpg", b"p"), ("3.flac", b"s"),
    ("d/4.mp3", b"s"), ("d/4.webp", b"p"),
]  # fmt: skip
DATA_SETS = {
    "a.parquet": [parquet(SET), parquet(HUB), parquet(SET, row_group_size=2, compression="none")],
    "a.arrow": [arrow(SET), arrow(HUB), arrow(SET, "file")],
    "a.tar": [tar(SAMPLES)],
}


@pytest.mark.parametrize("name", DATA_SETS)
@fuzz(40)
@given(st.data())
def test_damaged_data_sets(name, data):
    content = data.draw(st.sampled_from(DATA_SETS[name]))
    check({name: data.draw(mutated(content, DATA_SETS[name]))})


@pytest.mark.parametrize("name", DATA_SETS)
@fuzz(15)
@given(st.data())
def test_media_of_damaged_data_sets(name, data):
    content = data.draw(st.sampled_from(DATA_SETS[name]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        records = [record for block in Scan(open_manifest(path)).blocks() for record in block.records if record]
        path.write_bytes(data.draw(mutated(content)))
        for record in records:
            call(lambda location=record.image: read(location))
            call(lambda location=record.audio: read(location))


def read(location):
    with local_file(location) as path:
        return Path(path).read_bytes()


NAMES = ["a.png", "a.wav", "a.txt", "a.json", "a", ".png", "a.b.png", "d/a.png", "/a.png", "../a.png", "a.PNG", "é.png"]
NAMES += ["\u202e.png", "a\nb.wav", "x" * 150 + ".png", "", ".", "a.image.png", "a.cfg_scale", "a.mode.txt", "a.seed"]
CONTENTS = [b"", b"x", b"{}", b"[]", b'{"image": 1}', b'{"pose.yaw": "x"}', b'{"mode": "animal"}', b"\xff", b"[" * 9000]
CONTENTS += [
    b'{"a": 1e999}',
    b'{"": {"": []}}',
    b'{"record_id": "../x", "text": null}',
    b"\x00" * 600,
    b'{"a": "\\ud800"}',
]


@fuzz(60)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(CONTENTS)), max_size=8))
def test_tar_files_with_any_members(members):
    check({"m.tar": tar(members)})


@fuzz(60)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {"bytes": st.sampled_from([None, b"", b"x", b"\xff" * 9]), "path": st.sampled_from([None, *CELLS[:-8]])}
            ),
        ),
        min_size=4,
        max_size=4,
    ),
    st.sampled_from(["image", "face", "audio", "motion", "text"]),
    st.sampled_from(
        [{}, FEATURES, {"image": {"_type": "Image", "decode": False}}, {"face": 3}, {"face": {"_type": []}}]
    ),
)
def test_cells_of_any_content(values, column, features):
    values = [value and {**value, "path": _text(value["path"])} for value in values]
    table = pa.table({"image": ["p.png"] * 4, "audio": ["s.wav"] * 4}).drop_columns(
        [column] if column == "audio" else []
    )
    table = table.drop_columns(["image"]) if column in ("image", "face") else table
    table = table.append_column(column, pa.array(values, MEDIA))
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    check({"m.parquet": parquet(table.replace_schema_metadata(metadata))})


def _text(value):
    return None if value is None else value.encode(errors="replace").decode()


STATE_FILES = {
    "state.json": {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train", "_format_type": None},
    "dataset_info.json": {"features": FEATURES, "builder_name": "x"},
}


@pytest.mark.parametrize("name", STATE_FILES)
@fuzz(40)
@given(st.data())
def test_saved_data_sets_with_any_descriptions(name, data):
    files = {"data-00000-of-00001.arrow": arrow(HUB)}
    files |= {file: json.dumps(content).encode() for file, content in STATE_FILES.items()}
    changed = mutated_tree(STATE_FILES[name]).map(lambda tree: json.dumps(tree, default=str).encode())
    check(files | {name: data.draw(st.one_of(changed, mutated(files[name])))})


ARCHIVES = {kind: build_archive(kind) for kind in SUFFIXES}
MEMBERS = ["b.wav", "faces/a.png", "", "/", "..", "../b.wav", "B.WAV", "b.wav/", "faces", "é", "a\x00b", "*", "x" * 300]


@pytest.mark.parametrize("kind", SUFFIXES)
@fuzz(40)
@given(st.data())
def test_members_of_damaged_archives(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{SUFFIXES[kind]}")
        path.write_bytes(data.draw(st.one_of(st.just(ARCHIVES[kind]), mutated(ARCHIVES[kind], [*ARCHIVES.values()]))))
        for scheme in ("tar", "zip", "cell"):
            call(lambda scheme=scheme: read(f"{scheme}://{data.draw(st.sampled_from(MEMBERS))}::{path}"))


CELL_PATHS = [
    "image/1",
    "image/0",
    "image/-1",
    "image/99",
    "image/x",
    "image",
    "1",
    "/1",
    "",
    "n/1",
    "no/1",
    "image/1/2",
]
CELL_PATHS += ["image.bytes/1", "image/" + "9" * 40, "image/1e3", "image/１", "image%2F1", "audio/1"]


@fuzz(40)
@given(st.sampled_from(CELL_PATHS), st.sampled_from(["a.parquet", "a.arrow"]), st.data())
def test_cells_of_any_address(cell, name, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data.draw(st.sampled_from(DATA_SETS[name])))
        call(lambda: read(f"cell://{cell}::{path}"))


def test_an_archive_in_an_archive_is_refused_or_read(tmp_path):
    inner = build_archive("zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.writestr("inner.zip", inner)
    call(lambda: read(f"zip://b.wav::zip://inner.zip::{tmp_path}/outer.zip"))


# Conditions, with columns of most types.
COLUMNS = {
    "id": pa.array(["a", "b", None]), "n": pa.array([1, None, 2**62]), "x": pa.array([0.5, math.nan, math.inf]),
    "flag": pa.array([True, None, False]), "odd name": pa.array([1, 2, 3]),
    "when": pa.array([0, 1, None], pa.timestamp("us")),
    "list": pa.array([[1], [], None]), "part": pa.array([{"a": 1}, None, {"a": 2}]),
    "blob": pa.array([b"x", b"\xff", None]),
    "words": pa.array(["x", "x", "y"]).dictionary_encode(), "none": pa.nulls(3),
    "small": pa.array([1, 2, 3], pa.int8()),
    "huge": pa.array([2**64 - 1, 0, None], pa.uint64()), "money": pa.array([1, 2, None], pa.decimal128(5, 2)),
    "day": pa.array([0, 1, None], pa.date32()), "half": pa.array(np.array([1, 2, 3], np.float16)),
    "view": pa.array(["x", None, "z"], pa.string_view()), "time": pa.array([1, 2, None], pa.time64("us")),
}  # fmt: skip
TABLE = pa.table(COLUMNS)
WORDS = [
    *COLUMNS,
    "`odd name`",
    "nothing",
    "1",
    "0",
    "-1",
    "1.5",
    "1e999",
    "9" * 25,
    "'a'",
    '"b"',
    "''",
    "'\\ud800'",
    "`",
]
WORDS += [
    "null",
    "true",
    "false",
    "==",
    "!=",
    "<",
    ">=",
    "=",
    "<>",
    "and",
    "or",
    "not",
    "in",
    "not in",
    "is",
    "is not",
    "(",
]
WORDS += [
    ")",
    "[",
    "]",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "//",
    "contains(",
    "startswith(",
    "lower(",
    "len(",
    "abs(",
    ".",
]
WORDS += [
    "between",
    "like",
    "if",
    "else",
    "lambda",
    ":",
    ":=",
    "f'{n}'",
    "b'x'",
    "...",
    "\\",
    "\n",
    "#",
    ";",
    "é",
    "\x00",
    "@",
]


@fuzz(600)
@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), st.text(max_size=12)))
def test_conditions_of_any_words(text):
    check_condition(text)


@fuzz(400)
@given(
    st.sampled_from([*COLUMNS]), st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "+", "/"]),
    st.sampled_from(WORDS), st.sampled_from(["", "not ", "-"]), st.sampled_from(["", " > 1", " == n", " and flag"]),
)  # fmt: skip
def test_comparisons_of_any_columns(name, sign, value, before, after):
    value = f"[{value}, {value}]" if sign in ("in", "not in") else value
    check_condition(f"{before}`{name}` {sign} {value}{after}")


@fuzz(20)
@given(
    st.sampled_from(
        ["(" * 3000, "not " * 3000 + "flag", "-" * 3000 + "n > 1", "n > 1" + " and n > 1" * 3000, "[" * 500]
    )
)
def test_long_conditions(text):
    check_condition(text)


def check_condition(text):
    condition = call(lambda: parse_condition(text, NamedColumns(TABLE.schema, {"sync": "x"})))
    if isinstance(condition, JoyvasaError):
        return
    result = call(lambda: condition.evaluate(TABLE))
    if not isinstance(result, JoyvasaError):
        assert (len(result), result.type) == (3, pa.bool_()), text


VALUES = [
    "1",
    "-15:15",
    "15:-15",
    "0:0",
    ":",
    "1:",
    ":1",
    "nan:1",
    "0:inf",
    "1e308:1e309",
    "a,b",
    ",",
    "1,1",
    "true,false",
]
VALUES += [
    "0.5:0.6:0.7",
    "human",
    "",
    "null",
    "１:２",
    "exp,pose",
    "all",
    " 1 : 2 ",
    "0x1:0x2",
    "1_0:2_0",
    "9" * 400,
    "\x00",
]


@fuzz(400)
@given(
    st.one_of(st.sampled_from([*OPTIONS.specs]), st.sampled_from(["", "mode", "pose", "Pose.yaw", "é"])),
    st.sampled_from(VALUES),
)
def test_variations_of_any_range(name, values):
    variation = call(lambda: parse_variation(f"{name}={values}", OPTIONS, seed=3))
    if isinstance(variation, JoyvasaError):
        return
    drawn = variation.draw([f"r{n}" for n in range(20)])
    assert not isinstance(call(lambda: [OPTIONS.parse(name, value) for value in drawn.to_pylist()]), JoyvasaError)


ROW_VALUES = st.one_of(
    st.sampled_from([1, 0.5, -3, "all", "true", False, "1", "0.25", ""]), st.sampled_from([*ODD_VALUES])
)


@fuzz(80)
@given(st.lists(st.dictionaries(st.sampled_from([*OPTIONS.specs]), ROW_VALUES, max_size=4), min_size=1, max_size=5))
def test_controls_of_any_value_in_rows(rows):
    pairs = [{"image": f"p{n}.png", "audio": "s.wav", **row} for n, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        jsonl = Path(folder, "m.jsonl")
        jsonl.write_bytes(b"\n".join(json.dumps(row).encode() for row in pairs))
        scan = Scan(open_manifest(jsonl), options=OPTIONS)
        blocks = call(lambda: [*scan.blocks(extra=True)])
    if isinstance(blocks, JoyvasaError):
        return
    problems = {problem.row for block in blocks for problem in block.problems}
    records = [record for block in blocks for record in block.records]
    for number, (record, row) in enumerate(zip(records, rows, strict=True), start=1):
        assert (record is None) == (number in problems)
        if record:
            assert {name for name, _ in record.options} <= {
                name for name, value in row.items() if value not in (None, "")
            }


CAPTIONS = [
    b"",
    b"x",
    b"\xff",
    b"\x00",
    b"\xff\xfea\x00",
    b"\xef\xbb\xbfx",
    b"x" * 2_000_000,
    "é\u202e\n".encode(),
    b"\r\r\n",
]


@fuzz(30)
@given(st.lists(st.sampled_from(CAPTIONS), min_size=1, max_size=3))
def test_captions_of_any_content(captions):
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(captions):
            Path(folder, f"{number}.wav").write_bytes(b"s")
            Path(folder, f"{number}.txt").write_bytes(content)
        tree = call(lambda: FileTree(folder))
        texts = call(lambda: tree.read_texts(tree.names))
    if not isinstance(texts, JoyvasaError):
        assert all(text is None or text.strip() == text for text in texts)


MARKER = {"digest": "d", "files": [{"path": "train/a.tar", "bytes": 3, "sha256": "0" * 64}]}


@fuzz(80)
@given(
    st.one_of(
        mutated_tree(MARKER).map(lambda tree: json.dumps(tree, default=str).encode()),
        mutated(json.dumps(MARKER).encode()),
    ),
    st.sampled_from(
        [f"{STATE}/train/00000.json", HEADER, f"{STATE}/train/x.json", f"{STATE}/train/9.json", f"{STATE}/train"]
    ),
)
def test_states_of_exports_of_any_content(content, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out", name)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        outside = Path(folder, "precious")
        outside.write_bytes(b"x")
        markers = ExportMarkers(open_storage(f"{folder}/out"))
        shard = PlannedShard("train", 0, path, 1, "d")
        call(lambda: markers.check_target("webdataset"))
        call(lambda: markers.find_finished(shard))
        call(lambda: markers.begin("webdataset"))
        call(lambda: markers.discard_outdated({"train": [shard]}))
        assert outside.exists()
