import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.file_tree import FileTree
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.run.manifest_file import write_manifest
from manifests.scan import Scan
from manifests.storage import open_storage
from tests.manifests.tables import FORMATS, copied, pair, scanned, shards_of, write, write_odd_table

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda t: not t.isspace()
)
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_records(tmp_path, suffix):
    rows = [pair(0, seed=7, cfg_scale=2.5, mode="animal", priority=-3), {**pair(1), "motion": "m.npz", "audio": None}]
    records, problems, _ = scanned(write(tmp_path / f"m.{suffix}", rows))
    assert problems == []
    first, second = records
    assert (first.given_seed, first.cfg_scale, first.mode, first.priority) == (7, 2.5, "animal", -3)
    assert (second.given_seed, second.cfg_scale, second.mode, second.priority) == (None, None, "human", 0)
    assert (second.audio, second.motion) == (None, str(tmp_path / "m.npz"))
    assert first.id == "r0000"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_derived_id_does_not_depend_on_format_or_order(tmp_path, suffix):
    rows = [{"image": "a.png", "audio": f"{n}.wav", "seed": n, "cfg_scale": 2.0} for n in range(3)]
    records, _, _ = scanned(write(tmp_path / f"m.{suffix}", rows[::-1]))
    expected, _, _ = scanned(write(tmp_path / "m.csv", rows))
    assert {r.audio: r.id for r in records} == {r.audio: r.id for r in expected}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cells=st.lists(st.tuples(TEXT, CELL), min_size=1, max_size=8))
def test_any_text_survives_reading_and_reading_by_shard(tmp_path, suffix, cells):
    rows = [
        {"image": path, "audio": "a.wav", "record_id": str(n), "note": note} for n, (path, note) in enumerate(cells)
    ]
    path = write(tmp_path / f"m.{suffix}", rows, row_group_size=3)
    shards = shards_of(copied(path, tmp_path / "run", 2))
    written = [text for shard in shards for text in shard.table.column("written_image").to_pylist()]
    assert written == [path for path, _ in cells]
    assert [note for shard in shards for note in shard.extra.column("note").to_pylist()] == [note for _, note in cells]


def test_a_csv_id_stays_text(tmp_path):
    records, _, _ = scanned(write(tmp_path / "m.csv", [pair(0, record_id="007"), pair(1, record_id="1e5")]))
    assert [record.id for record in records] == ["007", "1e5"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_byte_order_marks_line_ends_and_quotes_do_not_matter(tmp_path, ending, mark, last):
    lines = ["image, audio,note", 'a.png,b.wav,"two', 'lines, ""quoted"""', "", "ä.png,b.wav,x"]
    (tmp_path / "m.csv").write_bytes((mark + ending.join(lines) + (ending if last else "")).encode())
    first, second = shards_of(copied(tmp_path / "m.csv", tmp_path / "run", 1))
    assert first.extra.column("note").to_pylist() == [f'two{ending}lines, "quoted"']
    assert (second.records[0].image, second.records[0].row) == (str(tmp_path / "ä.png"), 5)


def test_jsonl_byte_order_mark_and_blank_lines_are_skipped(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b'\xef\xbb\xbf\r\n{"image":"a","audio":"b"}\r\n\n{"image":"c","audio":"b"}')
    records, problems, _ = scanned(tmp_path / "m.jsonl")
    assert [(record.image, record.row) for record in records] == [(f"{tmp_path}/a", 2), (f"{tmp_path}/c", 4)]
    assert problems == []


CSV_HEAD = b"image,audio,record_id\n"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"a.png,b.wav\n", "wrong_field_count"),
        (b"a.png,b.wav,r,more\n", "wrong_field_count"),
        (b'"a".png,b.wav,r\n', "malformed_csv"),
        (b'"open,b.wav,r\n', "malformed_csv"),
        (b"\xe9.png,b.wav,r\n", "not_utf8"),
        (b"a\x00.png,b.wav,r\n", "control_character"),
        (b"a" * 1_100_000 + b",b.wav,r\n", "line_too_long"),
        (b"a" * 200_000 + b",b.wav,r\n", "malformed_csv"),
        (b"a" * 5000 + b",b.wav,r\n", "too_long"),
    ],
)
def test_a_broken_csv_line_is_one_bad_row_and_the_next_is_good(tmp_path, line, code):
    (tmp_path / "m.csv").write_bytes(CSV_HEAD + b"x.png,y.wav,before\n" + line + b"x.png,y.wav,after\n")
    records, problems, summary = scanned(tmp_path / "m.csv")
    assert [(problem.row, problem.code) for problem in problems] == [(3, code)]
    assert [record and record.id for record in records] == ["before", None, "after"]
    assert (summary.rows, summary.bad_rows) == (3, 1)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"image": "a.png", "audio": }\n', "malformed_json"),
        (b'["a.png", "b.wav"]\n', "malformed_json"),
        (b"[" * 100_000 + b"\n", "malformed_json"),
        (b'{"n": ' + b"9" * 5000 + b"}\n", "malformed_json"),
        (b'{"\\ud800": 1}\n', "malformed_json"),
        (b'{"image": "a", "audio": "b", "audio": "c"}\n', "malformed_json"),
        (b'{"image": "a", "audio": "b", "note": {"x": 1, "x": 2}}\n', "malformed_json"),
        (b'{"image": "a\\ud800.png", "audio": "b"}\n', "control_character"),
        (b'{"image": "a\\u0000.png", "audio": "b"}\n', "control_character"),
        (b'{"image": 7, "audio": "b"}\n', "wrong_type"),
        (b'{"image": "\xe9", "audio": "b"}\n', "not_utf8"),
        (b'{"image": "' + b"a" * 1_100_000 + b'"}\n', "line_too_long"),
    ],
)
def test_a_broken_json_line_is_one_bad_row_and_the_next_is_good(tmp_path, line, code):
    before, after = b'{"image": "x", "audio": "y", "record_id": "before"}\n', b'{"image": "x", "audio": "y"}'
    (tmp_path / "m.jsonl").write_bytes(before + line + after)
    records, problems, _ = scanned(tmp_path / "m.jsonl")
    assert [(problem.row, problem.code) for problem in problems] == [(2, code)]
    assert [record is None for record in records] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("m.csv", b"", "manifest_empty"),
        ("m.csv", b"image,audio\n", "manifest_empty"),
        ("m.jsonl", b"\n\n", "manifest_empty"),
        ("m.csv", "image,audio\na,b\n".encode("utf-16"), "manifest_encoding"),
        ("m.csv", b"im\xe9ge,audio\na,b\n", "manifest_encoding"),
        ("m.csv", b"picture,audio\na,b\n", "manifest_columns"),
        ("m.csv", b"image,sound\na,b\n", "manifest_columns"),
        ("m.csv", b"image,audio,image\na,b,c\n", "manifest_columns"),
        ("m.csv", b"image;audio\na;b\n", "manifest_columns"),
        ("m.csv", b"image,audio," + b",".join(b"c%d" % n for n in range(1100)), "manifest_columns"),
        ("m.jsonl", b'[{"image": "a", "audio": "b"}]', "manifest_format"),
        ("m.jsonl", json.dumps({f"c{n}": n for n in range(1100)}).encode(), "manifest_columns"),
        ("m.parquet", b"", "manifest_unreadable"),
        ("m.parquet", b"PAR1 no table PAR1", "manifest_unreadable"),
        ("m.xlsx", b"PK", "manifest_format"),
        ("m.csv.gz", b"x", "manifest_format"),
    ],
)
def test_a_file_that_is_no_manifest_gives_one_sentence(tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as error:
        scanned(tmp_path / name)
    assert error.value.code == code
    assert name in error.value.sentence


def test_a_missing_manifest_and_an_unknown_scheme_give_one_sentence(tmp_path):
    for uri, code in ((tmp_path / "none.csv", "manifest_missing"), ("nowhere://m.csv", "manifest_unreadable")):
        with pytest.raises(ManifestError) as error:
            open_manifest(uri)
        assert error.value.code == code


@pytest.mark.parametrize("location", ["", " ", "file://"])
def test_an_empty_location_is_refused_everywhere(tmp_path, monkeypatch, location):
    """An unset variable of a shell is empty; it does not mean the working directory."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "m.csv", [pair(0)])
    for read in (open_manifest, open_storage, FileTree):
        with pytest.raises(ManifestError, match=r"(manifest_missing|storage_empty): .* found .*; expected a path"):
            read(location)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", pa.array([1, 2])),
        ("image", pa.array([[b"a"], [b"b"]])),
        ("audio", pa.array([{"bytes": b"", "other": "a"}] * 2)),
        ("seed", pa.array([[1], [2]])),
        ("record_id", pa.array([1.0, 2.0])),
    ],
)
def test_a_parquet_column_of_a_wrong_type_gives_one_sentence(tmp_path, column, values):
    columns = {"image": ["a", "b"], "audio": ["a", "b"], column: values}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=f"manifest_columns: .*column {column} is "):
        scanned(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("values", "good", "bad"),
    [
        (pa.array([1.0, 2.5, None]), [1, None, None], [1]),  # as pandas stores whole numbers with gaps
        (pa.array([2.0**53, 2.0**60, 0.0]), [2**53, None, 0], [1]),
        (pa.array([2**63, 5, 0], pa.uint64()), [None, 5, 0], [0]),
        (pa.array(["5", "x", None]), [5, None, None], [1]),
        (pa.array([None, None, None], pa.null()), [None, None, None], []),
        (pa.array(["1", "1", "2"]).dictionary_encode(), [1, 1, 2], []),
    ],
)
def test_parquet_seeds_of_any_number_type_are_read_or_reported(tmp_path, values, good, bad):
    table = pa.table({"image": ["a"] * 3, "audio": ["b"] * 3, "record_id": [7, 8, 9], "seed": values})
    pq.write_table(table, tmp_path / "m.parquet")
    records, problems, _ = scanned(tmp_path / "m.parquet")
    assert [record and record.given_seed for record in records] == good
    assert [(problem.row - 1, problem.column) for problem in problems] == [(row, "seed") for row in bad]
    assert {record.id for record in records if record} <= {"7", "8", "9"}


def test_parquet_text_that_is_not_utf8_is_reported(tmp_path):
    bad = pa.array([b"a", b"\xff", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"image": bad, "audio": ["b"] * 3}), tmp_path / "m.parquet")
    _, problems, _ = scanned(tmp_path / "m.parquet")
    assert [(p.row, p.code, p.value) for p in problems] == [
        (2, "wrong_type", r"b'\xff'"),
        (3, "missing_value", ""),
    ]


def test_passed_through_columns_keep_their_parquet_types(tmp_path):
    extra = {
        "when": pa.array([1, 2], pa.timestamp("us")),
        "tags": pa.array([["a"], []]),
        "id": pa.array([bytes(16), bytes(16)], pa.uuid()),
        "nested": pa.array([{"a": 1}, None]),
    }
    pq.write_table(pa.table({"image": ["a", "b"], "audio": ["c", "d"], **extra}), tmp_path / "m.parquet")
    passed = copied(tmp_path / "m.parquet", tmp_path / "run", 1).read_shard(1).extra
    assert passed.schema.types == [array.type for array in extra.values()]
    assert passed.to_pylist() == [pa.table(extra).to_pylist()[1]]


def test_json_values_get_the_narrowest_common_type(tmp_path):
    values = [
        {"n": 1, "x": 1, "flag": True, "mixed": "a", "list": [1], "gap": None, "big": 2**70,
         "long": 3, "inexact": 2**53 + 1},
        {"n": 2, "x": 1.5, "flag": None, "mixed": 3, "list": {"b": 1}, "late": "z",
         "long": -(2**63), "inexact": 0.5},
    ]  # fmt: skip
    path = write(tmp_path / "m.jsonl", [pair(n, **more) for n, more in enumerate(values)])
    shards = shards_of(copied(path, tmp_path / "run", 1))
    assert {field.name: str(field.type) for field in shards[0].extra.schema} == {
        "n": "int64", "x": "double", "flag": "bool", "mixed": "string",
        "list": "string", "gap": "null", "big": "string", "late": "string",
        "long": "int64", "inexact": "string",
    }  # fmt: skip
    first, second = (shard.extra.to_pylist()[0] for shard in shards)
    assert (first["n"], first["x"], first["flag"], first["mixed"], first["list"]) == (1, 1.0, True, '"a"', "[1]")
    assert (second["n"], second["mixed"], second["list"], second["late"]) == (2, "3", '{"b": 1}', "z")
    assert first["late"] is None
    assert first["big"] == str(2**70)
    assert (second["long"], first["inexact"], second["inexact"]) == (-(2**63), str(2**53 + 1), "0.5")


def test_json_lines_that_change_while_they_are_read_give_one_sentence(tmp_path, monkeypatch):
    path = write(tmp_path / "m.jsonl", [pair(0, note="a")])
    scan = Scan(open_manifest(path))
    schema = Scan.extra_schema

    def changed(self):
        result = schema(self)
        write(path, [pair(0, note=1)])
        return result

    monkeypatch.setattr(Scan, "extra_schema", changed)
    with pytest.raises(ManifestError, match=r"manifest_unreadable: m\.jsonl: was changed while it was read"):
        write_manifest(scan, tmp_path / "run.parquet")


def test_the_name_that_occurs_twice_in_a_json_line_is_stated(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"image": "a", "audio": "b", "image": "c"}')
    _, (problem,), _ = scanned(tmp_path / "m.jsonl")
    assert problem.sentence == "has the name image twice: remove one"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [b"\r", b""])
def test_lines_may_end_with_carriage_returns(tmp_path, mark, last):
    (tmp_path / "m.csv").write_bytes(mark + b'image,audio,note\ra.png,b.wav,"two\rlines"\rc.png,b.wav,x' + last)
    (tmp_path / "m.jsonl").write_bytes(
        mark + b'{"image": "a.png", "audio": "b"}\r{"image": "c.png", "audio": "b"}' + last
    )
    (shard,) = shards_of(copied(tmp_path / "m.csv", tmp_path / "csv"))
    assert [(record.image, record.row) for record in shard.records] == [
        (f"{tmp_path}/a.png", 2),
        (f"{tmp_path}/c.png", 4),
    ]
    assert shard.extra.column("note").to_pylist() == ["two\nlines", "x"]
    records, problems, _ = scanned(tmp_path / "m.jsonl")
    assert [(record.image, record.row) for record in records] == [(f"{tmp_path}/a.png", 1), (f"{tmp_path}/c.png", 2)]
    assert problems == []


def test_numbers_that_json_lacks_are_text_inside_of_json(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"image": "a", "audio": "b", "note": {"x": [NaN, -Infinity, 1.5]}}')
    (shard,) = shards_of(copied(tmp_path / "m.jsonl", tmp_path / "run"))
    assert shard.extra.column("note").to_pylist() == ['{"x": ["NaN", "-Infinity", 1.5]}']


def test_odd_columns_are_copied_with_their_values(tmp_path):
    source = pq.read_table(write_odd_table(tmp_path / "m.parquet")).drop_columns(["record_id", "image", "audio"])
    shards = shards_of(copied(tmp_path / "m.parquet", tmp_path / "run", 1))
    passed = pa.concat_tables(shard.extra for shard in shards).combine_chunks()
    assert passed.drop_columns(["view", "nan"]).equals(source.drop_columns(["view", "nan"]))
    assert passed.schema.field("view").type == pa.string()
    assert passed.column("view").to_pylist() == ["a", None]


def test_bad_rows_are_left_out_of_every_type_of_column(tmp_path):
    table = pq.read_table(write_odd_table(tmp_path / "m.parquet")).set_column(1, "image", [["p.png", None]])
    pq.write_table(table, tmp_path / "m.parquet")
    (shard,) = shards_of(copied(tmp_path / "m.parquet", tmp_path / "run"))
    assert [record.id for record in shard.records] == ["r0"]
    assert shard.extra.num_rows == 1


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_standard_columns_may_have_any_type_of_text(tmp_path, kind):
    columns = {"image": pa.array(["a", "b"]).cast(kind), "audio": pa.array(["c", "d"]).cast(kind)}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    (shard,) = shards_of(copied(tmp_path / "m.parquet", tmp_path / "run"))
    assert [record.audio for record in shard.records] == [f"{tmp_path}/c", f"{tmp_path}/d"]


def test_old_times_of_spark_keep_their_values(tmp_path):
    when = pa.array([-(10**16), 9 * 10**15], pa.timestamp("us"))  # the years 1653 and 2255
    table = pa.table({"image": ["a", "b"], "audio": ["c", "d"], "when": when})
    pq.write_table(table, tmp_path / "m.parquet", use_deprecated_int96_timestamps=True)
    (shard,) = shards_of(copied(tmp_path / "m.parquet", tmp_path / "run"))
    assert shard.extra.column("when").combine_chunks().equals(when)


def test_a_parquet_column_whose_name_is_not_utf8_gives_one_sentence(tmp_path):
    names = [pa.field(name, pa.string()) for name in ("image", "audio", b"caf\xe9")]
    pq.write_table(pa.table([["a"], ["b"], ["c"]], schema=pa.schema(names)), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"manifest_encoding: m\.parquet: the name of a column is not UTF-8"):
        scanned(tmp_path / "m.parquet")


def test_a_column_that_is_null_in_one_json_manifest_keeps_the_type_of_others(tmp_path):
    for name, age in (("a", None), ("b", 30)):
        rows = [pair(n, age=age) for n in range(3)]
        write(tmp_path / f"{name}.jsonl", rows)
    schemas = [Scan(open_manifest(tmp_path / f"{name}.jsonl")).extra_schema() for name in "ab"]
    assert pa.unify_schemas(schemas, promote_options="permissive").field("age").type == pa.int64()
    (shard,) = shards_of(copied(tmp_path / "a.jsonl", tmp_path / "run"))
    assert shard.extra.column("age").to_pylist() == [None] * 3
