"""Rows are exported whatever the manifest contains."""

import json
import re
import tarfile

import pyarrow.parquet as pq
import pytest

from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from tests.manifests.tables import write_odd_table
from tests.pipelines.report.run_folders import ok_outcome, write_run


def render(record):
    return ok_outcome(record, video=f"shards/{record.shard:05d}/videos/{record.id}.mp4", sharpness=float("nan"))


@pytest.fixture
def odd_run(tmp_path):
    rows = write_odd_table(tmp_path / "m.parquet")
    write_run(tmp_path / "run", rows, render, manifests=tmp_path, shard_size=1, video=b"video")
    return str(tmp_path / "run")


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("format", ["webdataset", "folder"])
def test_odd_columns_become_text_in_json(odd_run, tmp_path, format):
    export_dataset(odd_run, str(tmp_path / "data"), ExportConfig(format, accept_licenses=True))
    if format == "folder":
        lines = (tmp_path / "data/train/metadata.jsonl").read_text().splitlines()
    else:
        with tarfile.open(tmp_path / "data/train/00000.tar") as tar:
            lines = [tar.extractfile(f"r{n}.json").read() for n in range(2)]
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert rows[0]["view"] == "a"
    assert rows[0]["latin"] == "caf\\xe9"
    assert rows[0]["year_0"].startswith("-0001-12-31")
    assert (rows[0]["nan"], rows[1]["nan"]) == ("NaN", "Infinity")
    assert rows[1]["raw"] == rows[1]["nested"] == ""
    assert {"view", "raw", "nested", "zone"} <= {*json.loads(rows[1]["null_columns"])}
    assert {name: type(value) for name, value in rows[0].items()} == {n: type(value) for n, value in rows[1].items()}


def test_odd_columns_keep_their_types_in_parquet(odd_run, tmp_path):
    export_dataset(odd_run, str(tmp_path / "data"), ExportConfig(format="parquet", accept_licenses=True))
    table = pq.read_table(tmp_path / "data/train/00000.parquet")
    assert str(table.schema.field("price").type) == "decimal128(3, 2)"
    assert table.column("latin").to_pylist() == ["caf\\xe9", None]


def test_a_metric_whose_square_is_infinite_is_left_out_of_the_means(tmp_path):
    rows = [{"record_id": f"r{n}", "image": "a.png", "audio": "a.wav"} for n in range(3)]

    def huge(record):
        values = {"sharpness": [2.0, 4.0, 1e300][record.row - 1]}
        return ok_outcome(record, video=f"shards/{record.shard:05d}/videos/{record.id}.mp4", **values)

    write_run(tmp_path / "run", rows, huge, manifests=tmp_path, video=b"video")
    export_dataset(str(tmp_path / "run"), str(tmp_path / "tars"), ExportConfig(accept_licenses=True))
    assert re.search(r"\| 3 \| 1\.\S+ to 4\.\S+ \| 2 \| 4 \| 2 \|", (tmp_path / "tars/README.md").read_text())
