"""Rows are written as JSON whatever their columns hold."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.run.json_rows import JsonRows
from tests.manifests.tables import write_odd_table


def test_values_that_json_cannot_hold_become_text_and_their_columns_are_named(tmp_path):
    rows = JsonRows()
    table = pq.read_table(write_odd_table(tmp_path / "m.parquet"))
    first, second = (json.loads(json.dumps(row, allow_nan=False)) for row in rows.convert(table))
    assert first == {
        "record_id": "r0", "image": "p.png", "audio": "s.wav", "row_index": 1, "speaker": "anna",
        "view": "a", "year_0": "-0001-12-31 19:03:58.000000-0456",
        "infinity": "<value out of range: 9223372036854775807>",
        "zone": "1970-01-01 00:00:00.000001Z", "ns": "1970-01-01 00:00:00.000000001",
        "day": "<value out of range: 2147483647>", "clock": "00:00:00.000000001", "latin": "caf\\xe9", "nan": "NaN",
        "price": "1.50", "raw": "/w==", "key": "00000000-0000-0000-0000-000000000000",
        "nested": [{"x": "-Infinity"}], "map": [["k", 1]],
    }  # fmt: skip
    assert second["nan"] == "Infinity"
    assert second["nested"] is second["map"] is second["year_0"] is None
    plain = {"record_id", "image", "audio", "row_index", "speaker", "map", "view"}
    assert set(rows.columns_as_text) == first.keys() - plain


def test_rows_of_plain_values_name_no_column(tmp_path):
    rows = JsonRows()
    table = pq.read_table(write_odd_table(tmp_path / "m.parquet"), columns=["record_id", "map", "row_index"])
    assert list(rows.convert(table.slice(1))) == [{"record_id": "r1", "map": None, "row_index": 1}]
    assert not rows.columns_as_text


def test_fields_of_one_name_are_written_as_pairs():
    struct = pa.StructArray.from_arrays([pa.array([1, None]), pa.array(["a", "b"])], ["x", "x"])
    rows = JsonRows().convert(pa.table({"s": struct}))
    assert [json.loads(json.dumps(row)) for row in rows] == [
        {"s": [["x", 1], ["x", "a"]]},
        {"s": [["x", None], ["x", "b"]]},
    ]
