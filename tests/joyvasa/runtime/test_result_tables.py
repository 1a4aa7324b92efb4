"""Outcome rows of a run as a DataFrame: `joyvasa.results`."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import joyvasa
from joyvasa.errors import InputError
from joyvasa.runtime import result_tables
from joyvasa.runtime.result_tables import FACTS, iterate_tables, read_schema, read_table
from manifests.run.outcome_table import encode_parquet
from tests.child_process import run_in_child
from tests.damaged_parquet import contradict_footer
from tests.manifests.tables import write_odd_table
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, write_run

N = 20
ROWS = [
    {"record_id": f"r{k:02d}", "image": "p.png", "audio": "s.wav", "speaker": ("ann", "bob")[k % 2], "age": k}
    for k in range(N)
]


def outcome(record):
    """Outcome of a record: only records of the first shard have a `beat`, and one in seven fails."""
    k = int(record.id[1:])
    metrics = {"sharpness": k / 2} | ({"beat": 1.0} if k < 8 else {})
    return failed_outcome(record) if k % 7 == 3 else ok_outcome(record, **metrics)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", ROWS, outcome, manifests=tmp_path)


def table_file(path, table):
    """Write an outcome table with only these columns and those that every table has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in {*result_tables.REQUIRED} - {*table.column_names}:
        table = table.append_column(name, pa.array(["x"] * len(table)))
    pq.write_table(
        table.replace_schema_metadata({"joyvasa.schema_version": "1", **(table.schema.metadata or {})}), path
    )
    return str(path)


def test_there_is_one_row_per_record_in_manifest_order(run):
    table = joyvasa.results(run.storage.root)
    assert isinstance(table, pd.DataFrame)
    assert table.record_id.tolist() == [row["record_id"] for row in ROWS]
    assert table.status.value_counts().to_dict() == {"ok": 17, "failed": 3}
    assert table.shard.tolist() == [k // 8 for k in range(N)]
    assert table[table.status == "failed"].error_code.tolist() == ["face_not_found"] * 3
    assert table.licenses[0].tolist() == ["MIT", "research only"]


def test_other_manifest_columns_are_included(run):
    table = joyvasa.results(run.storage.root)
    assert table.speaker.tolist() == ["ann", "bob"] * 10
    assert table.age.tolist() == [*range(N)]
    assert table.groupby("speaker").metric_sharpness.count().to_dict() == {"ann": 9, "bob": 8}


def test_integer_columns_with_missing_values_stay_integers(run):
    table = joyvasa.results(run.storage.root)
    assert table.frames.dtype == pd.Int64Dtype()
    assert (table.frames[0], table.frames[3] is pd.NA) == (100, True)
    assert table.metric_sharpness.dtype == float
    assert table.metric_sharpness.isna().sum() == 3
    assert table.record_id.dtype == pd.Series(["a"]).dtype


def test_a_column_that_some_shards_lack_is_na_there(run):
    table = joyvasa.results(run.storage.root)
    assert table.metric_beat.notna().tolist() == [k < 8 and k != 3 for k in range(N)]


def test_columns_and_rows_can_be_selected(run):
    table = joyvasa.results(run.storage.root, ["metric_sharpness", "record_id"], ds.field("metric_sharpness") > 8)
    assert [*table.columns] == ["metric_sharpness", "record_id"]
    assert table.record_id.tolist() == ["r18", "r19"]


def test_an_unknown_column_is_refused(run):
    with pytest.raises(InputError, match=r"column_unknown: .*'metric_sharpnes'; did you mean metric_sharpness\?"):
        joyvasa.results(run.storage.root, ["metric_sharpnes"])


def test_a_run_in_progress_has_the_rows_of_its_finished_shards(tmp_path):
    run = write_run(tmp_path / "run", ROWS, outcome, manifests=tmp_path, shards=2)
    run.save_outcomes(2, [failed_outcome(SimpleNamespace(id="r16", image="p.png"))])
    run.storage.write(run.records_path(2), b"half of a table")
    assert joyvasa.results(tmp_path / "run").record_id.tolist() == [row["record_id"] for row in ROWS[:16]]


def test_a_run_without_finished_shards_has_no_rows(tmp_path):
    write_run(tmp_path / "run", ROWS, outcome, manifests=tmp_path, shards=0)
    assert len(joyvasa.results(tmp_path / "run")) == 0


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"run_missing: .*contains no run\.yaml"):
        joyvasa.results(tmp_path)


def test_runs_are_read_from_object_stores(s3_bucket, tmp_path):
    write_run(f"{s3_bucket}/run", ROWS, outcome, manifests=tmp_path, shards=2)
    table = joyvasa.results(f"{s3_bucket}/run/")
    assert (len(table), table.metric_beat.notna().sum()) == (16, 7)


def test_runs_are_read_from_memory(tmp_path):
    write_run("memory://results/run", ROWS, outcome, manifests=tmp_path)
    assert joyvasa.results("memory://results/run", ["row"], ds.field("status") == "failed").row.tolist() == [4, 11, 18]


def test_column_types_of_shards_are_unified(tmp_path):
    first = pa.table(
        {
            "number": pa.array([1], pa.int32()),
            "empty": pa.nulls(1),
            "text": pa.array(["a"]).dictionary_encode(),
            "truth": [True],
        }
    )
    second = pa.table({"number": pa.array([2**40], pa.int64()), "empty": ["full"], "text": pa.nulls(1)})
    files = [table_file(tmp_path / f"{n}.parquet", table) for n, table in enumerate([first, second])]
    table = read_table(files).to_pandas(types_mapper=result_tables._nullable)
    assert table.number.tolist() == [1, 2**40]
    assert table["empty"].isna().tolist() == [True, False]
    assert table.text[0] == "a"
    assert table.truth.tolist() == [True, pd.NA]


def test_tables_are_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(result_tables, "FILES_AT_ONCE", 2)
    files = [table_file(tmp_path / f"{n}.parquet", pa.table({"n": [n]})) for n in range(5)]
    assert [table.column("n").to_pylist() for table in iterate_tables(files)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be read"),
        (b"PAR1", "cannot be read"),
        (encode_parquet(pa.table({"record_id": ["a"]})), "cannot be read"),
        (None, "does not exist: run the shard again"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "records.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"records_unreadable: {path}: {sentence}"):
        read_schema([str(path)])


def test_a_table_of_a_newer_version_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}, metadata={"joyvasa.schema_version": "2"}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has version 2; expected 1: use a newer version of joyvasa"):
        read_schema([str(tmp_path / "a.parquet")])


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"status": [1]}), "column status is int64, expected string"),
        (pa.table({"shard": [["x"]]}), "column shard is list<.*>, expected int32"),
        (pa.table({"metric_sync": ["x"]}), "column metric_sync is string, expected double"),
        (pa.table([[1], [2]], ["a", "a"]), "column a occurs twice"),
        *(
            (pa.table({"a": [1]}, metadata={FACTS: facts}), "metadata joyvasa.facts is no list of columns")
            for facts in ("5", "null", "[[1]]", '{"a": 1}', '"a"')
        ),
    ],
)
def test_tables_with_columns_of_other_types_are_refused(tmp_path, table, sentence):
    with pytest.raises(InputError, match=f"records_unreadable: .*{sentence}"):
        read_schema([table_file(tmp_path / "a.parquet", table)])


@pytest.mark.parametrize("name", ["record_id", "status"])
def test_tables_without_what_every_row_has_are_refused(tmp_path, name):
    file = table_file(tmp_path / "a.parquet", pa.table({"n": [1, 2]}))
    pq.write_table(pq.read_table(file).drop_columns([name]), file)
    with pytest.raises(InputError, match=f"records_unreadable: {file}: cannot be read .column {name} is missing"):
        read_schema([file])
    table_file(tmp_path / "a.parquet", pa.table({"n": [1, 2], name: ["x", None]}))
    other = table_file(tmp_path / "b.parquet", pa.table({"n": [3]}))
    assert read_table([file, other], columns=["n"]).column("n").to_pylist() == [1, 2, 3]
    with pytest.raises(InputError, match=f"records_unreadable: {file}: cannot be read .column {name} has 1 nulls"):
        read_table([other, file])


def test_tables_whose_columns_have_no_common_type_are_refused(tmp_path):
    tables = [pa.table({"a": [1]}), pa.table({"a": [["x"]]})]
    files = [table_file(tmp_path / f"{n}.parquet", table) for n, table in enumerate(tables)]
    with pytest.raises(InputError, match=r"records_unreadable: .*0\.parquet"):
        read_schema(files)


def test_the_damaged_one_of_many_tables_is_named(tmp_path):
    files = [table_file(tmp_path / f"{n}.parquet", pa.table({"n": [n]})) for n in range(5)]
    schema = read_schema(files)
    (tmp_path / "3.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match=rf"records_unreadable: {files[3]}: cannot be read"):
        read_table(files, schema)


def test_importing_joyvasa_loads_no_table_library():
    code = "import sys, joyvasa; sys.exit(bool({'pandas', 'pyarrow', 'fsspec'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_columns_that_pandas_cannot_hold_are_text_and_can_be_printed(tmp_path):
    write_run(tmp_path / "run", write_odd_table(tmp_path / "m.parquet"), ok_outcome, manifests=tmp_path)
    table = joyvasa.results(tmp_path / "run")
    for name in table.columns:
        assert repr(table[name])
    assert table.year_0[0] == "-0001-12-31 19:03:58.000000-0456"
    assert table.latin[0] == "caf\\xe9"
    assert table.zone[0] == "1970-01-01 00:00:00.000001Z"
    assert table.ns[0] == pd.Timestamp(1)


def test_rows_are_filtered_by_columns_that_are_not_read(tmp_path):
    files = []
    for number in range(3):
        rows = [{"record_id": f"{number}{n}", "status": "ok" if n % 2 else "failed", "frames": n} for n in range(6)]
        files.append(table_file(tmp_path / f"{number}.parquet", pa.Table.from_pylist(rows)))
    condition = (ds.field("status") == "ok") & (ds.field("frames") > 1)
    table = read_table(files, columns=["record_id"], filter=condition)
    assert table.column_names == ["record_id"]
    assert table.column("record_id").to_pylist() == ["03", "05", "13", "15", "23", "25"]


@pytest.mark.parametrize("condition", [ds.field("speaker") == "a", ds.field("frames") == "a"])
def test_a_filter_that_does_not_fit_the_columns_is_one_sentence(tmp_path, condition):
    file = table_file(tmp_path / "a.parquet", pa.table({"frames": [1]}))
    with pytest.raises(InputError, match=r"condition_invalid: the rows cannot be filtered .*change the filter"):
        read_table([file], filter=condition)


def filter_table(file):
    return read_table([file], filter=ds.field("status") == "ok").column("status").to_pylist()


def test_a_footer_that_contradicts_itself_does_not_end_the_process(tmp_path):
    file = table_file(tmp_path / "a.parquet", pa.table({"status": ["ok", "failed"]}))
    contradict_footer(file)
    assert run_in_child(filter_table, file) == ["ok"]


def test_shards_are_read_in_the_order_of_their_numbers_and_other_folders_are_not():
    names = ["100000", "99999", "00000", "00007", "0", "000001", "-1", "00000.bak", "٠٠٠٠١", "9" * 30, ".part", "1e5"]
    assert result_tables.parse_shards(names) == [0, 7, 99999, 100000]
    assert [result_tables.shard_folder(shard) for shard in (0, 99999, 100000)] == [
        "shards/00000",
        "shards/99999",
        "shards/100000",
    ]


def test_copies_of_shards_under_other_names_are_not_read(run):
    shards = Path(run.storage.root, "shards")
    for name in ("0", "00000.bak", "000000"):
        shutil.copytree(shards / "00000", shards / name)
    assert joyvasa.results(run.storage.root).record_id.tolist() == [row["record_id"] for row in ROWS]


def test_a_pipe_in_the_place_of_a_table_is_refused_at_once(run):
    table = Path(run.storage.root, "shards/00001/records.parquet")
    table.unlink()
    os.mkfifo(table)
    for read in (lambda: joyvasa.results(run.storage.root), lambda: run.read_records(1)):
        with pytest.raises(InputError, match=r"records_unreadable: .*records\.parquet: .* \(not a regular file\)"):
            read()


def test_amounts_that_cannot_be_are_missing(tmp_path):
    amounts = [1.5, math.nan, math.inf, -1.0, 1e300]
    table = {"status": ["ok"] * 5, "duration_s": amounts, "seconds_render": amounts, "metric_sync": amounts}
    table |= {"frames": pa.array([0, 40, -1, 2**62, None], pa.int64())}
    read = read_table([table_file(tmp_path / "a.parquet", pa.table(table))])
    assert read["duration_s"].to_pylist() == read["seconds_render"].to_pylist() == [1.5, None, None, None, None]
    assert read["frames"].to_pylist() == [0, 40, None, None, None]
    assert read["metric_sync"].to_pylist()[3:] == [-1.0, 1e300]
