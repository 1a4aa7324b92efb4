"""Damaged and unusual manifests in all formats: each row is read or reported, and a run reads what was checked."""

import json
import tempfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from joyvasa.errors import JoyvasaError
from pipelines.cli.main import app
from tests.faults.fuzz.checking import CELLS, check, parquet
from tests.faults.fuzz.fuzzing import ODD_VALUES, call, fuzz, mutated

pytestmark = pytest.mark.slow

NAMES = [
    "image",
    "audio",
    "motion",
    "video",
    "record_id",
    "mode",
    "seed",
    "cfg_scale",
    "priority",
    "speaker",
    "Seed",
    "row",
]
NAMES += ["", " ", "input_row", "written_image", "crop.scale", "status", "é", "\u202e", "a\nb", "\x00", "x" * 300]
CSV = b"""record_id,image,audio,mode,seed,cfg_scale,note
a,p.png,s.wav,human,1,2.5,x
b,q.png,t.wav,animal,,,"y ""z"", w"
c,p.png,t.wav,,,,
"""
JSONL = b"".join(
    json.dumps(
        {"record_id": f"r{n}", "image": "p.png", "audio": "s.wav", "seed": n, "cfg_scale": 2.5, "note": [n, {"a": "b"}]}
    ).encode()
    + b"\n"
    for n in range(4)
)
EDGES = [
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff\x00a",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\x00",
    b"\x1a",
    b'"',
    b'"\n',
    b"\xff",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
]


TABLE = pa.table(
    {
        "record_id": ["a", "b", "c"],
        "image": ["p.png", "q.png", "p.png"],
        "audio": ["s.wav", "t.wav", None],
        "seed": [1, None, 3],
        "note": pa.array([["x"], None, []]),
        "when": pa.array([date(2020, 1, 1), None, date(1, 1, 1)]),
    }
)
PARQUET = [
    parquet(TABLE),
    parquet(TABLE, compression="zstd", row_group_size=2),
    parquet(TABLE, use_dictionary=False, data_page_version="2.0"),
]


@fuzz(50)
@given(mutated(CSV, [JSONL, *EDGES]), st.sampled_from(["m.csv", "m.tsv", "mode=human/m.csv"]))
def test_damaged_csv(content, name):
    check({name: content})


@fuzz(50)
@given(mutated(JSONL, [CSV, *EDGES]))
def test_damaged_json_lines(content):
    check({"m.jsonl": content})


@fuzz(60)
@given(st.sampled_from(PARQUET).flatmap(mutated))
def test_damaged_parquet(content):
    check({"m.parquet": content})


CELL = st.one_of(st.sampled_from(CELLS), st.text(max_size=5))


@fuzz(60)
@given(
    st.lists(st.sampled_from(NAMES), max_size=6),
    st.lists(st.lists(CELL, max_size=8), max_size=8),
    st.sampled_from([",", "\t", ";", "|"]),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.sampled_from(["", "\ufeff", "\n", "#c\n", "sep=,\n"]),
    st.sampled_from(["m.csv", "m.tsv", "M.CSV"]),
)
def test_csv_of_any_content(names, rows, separator, end, start, file):
    lines = [
        separator.join(["image", "audio", *names]),
        *(separator.join(["p.png", "s.wav", *row][: 2 + len(names)]) for row in rows),
    ]
    check({file: (start + end.join(lines)).encode("utf-8", "surrogatepass")})


JSON_VALUE = st.one_of(st.sampled_from(CELLS), st.sampled_from(ODD_VALUES))


@fuzz(60)
@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), JSON_VALUE, max_size=5), min_size=1, max_size=6),
    st.lists(
        st.sampled_from([b"[" * 100_000, b'{"a":' * 20_000, b"null", b"1", b"{}", b"\xff", b"NaN", b'{"a":1,"a":2}']),
        max_size=1,
    ),
)
def test_json_lines_of_any_content(rows, odd):
    lines = [json.dumps({"image": "p.png", "audio": "s.wav", **row}).encode() for row in rows]
    check({"m.jsonl": b"\n".join([*lines, *odd])})


TYPES = [
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view(), pa.binary(3), pa.null(),
    pa.bool_(),
    pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(5, 2),
    pa.decimal256(50, 3),
    pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Paris"),
    pa.timestamp("s", "No/Where"), pa.duration("ns"), pa.month_day_nano_interval(), pa.list_(pa.int8()),
    pa.large_list(pa.string_view()), pa.list_(pa.float32(), 2), pa.list_view(pa.int16()), pa.struct([("a",
    pa.string_view()), ("b", pa.int8())]),
    pa.struct([]), pa.map_(pa.string(), pa.list_(pa.int8())), pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.timestamp("ns", "UTC")), pa.uuid(), pa.json_(), pa.bool8(),
    pa.opaque(pa.int8(), "x", "y"),
]  # fmt: skip
RAW = [
    None,
    "",
    "x",
    "7",
    0,
    1,
    -1,
    127,
    1.5,
    float("nan"),
    float("inf"),
    True,
    b"abc",
    b"\xff\xfe\xfd",
    date(1, 1, 1),
    [1, 2],
    [],
    {},
]
RAW += [{"a": "x", "b": 1}, [("k", [1])], "é" * 100, 2**62]


@fuzz(80)
@given(
    st.dictionaries(
        st.sampled_from([name for name in NAMES if name not in ("image", "audio")]),
        st.tuples(st.sampled_from(TYPES), st.lists(st.sampled_from(RAW), min_size=3, max_size=3)),
        max_size=4,
    ),
    st.booleans(),
    st.sampled_from(["zstd", "none"]),
)
def test_parquet_of_any_type(columns, dictionary, compression):
    table = pa.table({"image": ["p.png", "q.png", "r.png"], "audio": ["s.wav"] * 3})
    for name, (kind, values) in columns.items():
        table = table.append_column(name, array_of(kind, values))
    try:
        content = parquet(table, use_dictionary=dictionary, compression=compression)
    except (pa.ArrowException, OSError):  # Parquet does not hold every type
        return
    check({"m.parquet": content})


def array_of(kind, values):
    """Return an array with the values that fit the type, null in place of others."""
    parts = []
    for value in values:
        try:
            parts.append(pa.array([value], kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError, NotImplementedError):
            parts.append(pa.nulls(1, kind))
    return pa.chunked_array(parts, kind)


PARTS = {
    "a.csv": CSV, "b.csv": CSV.replace(b"\na,", b"\nd,").replace(b"\nb,", b"\ne,").replace(b"\nc,", b"\nf,"),
    "c.jsonl": JSONL,
    "d.jsonl": b'{"record_id": "z", "image": "p", "audio": "s", "note": 1.5}\n', "e.parquet": PARQUET[0],
    "f.parquet": PARQUET[1],
    "mode=human/g.parquet": PARQUET[0], "mode=x/h.parquet": PARQUET[1], "note=%ff/i.csv": CSV,
    "=/j.csv": CSV, "seed=1/seed=2/k.csv": CSV,
    "_skipped.csv": b"\x00", ".x.csv": b"", "l.csv": b"", "m.csv": b"image,audio\n", "n.jsonl": b"",
    "o.txt": b"x", "p.csv/q": b"x",
    "r.parquet": b"PAR1", "image=p.png/s.csv": b"audio,record_id\nx,1\n",
    "record_id=__HIVE_DEFAULT_PARTITION__/t.csv": CSV,
    "u.parquet": parquet(pa.table({"image": ["x"], "audio": ["y"], "note": [1.5]})), "v\u202e.csv": b"image,audio\nx\n",
}  # fmt: skip


@fuzz(60)
@given(st.lists(st.sampled_from(sorted(PARTS)), min_size=2, max_size=4, unique=True))
def test_folders_of_any_files(names):
    if not {"p.csv/q", "p.csv"} <= set(names):
        check({name: PARTS[name] for name in names})


@fuzz(20)
@given(
    st.sampled_from([CSV, JSONL, PARQUET[0]]),
    st.sampled_from(
        [["validate"], ["validate", "--json"], ["validate", "--videos"], ["plan"], ["plan", "--json", "--no-probe"]]
    ),
    st.data(),
)
def test_commands_print_no_traceback(content, command, data):
    suffix = {CSV: ".csv", JSONL: ".jsonl"}.get(content, ".parquet")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"m{suffix}")
        path.write_bytes(data.draw(mutated(content)))
        result = call(lambda: CliRunner().invoke(app, [*command, str(path)]))
        error = result.exception
        assert error is None or isinstance(error, SystemExit | JoyvasaError), error
