"""Exported rows are JSON whatever the manifest contains."""

import json
import tarfile

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli.runs import export_command
from pipelines.runs.export import export_webdataset
from tests.manifests.tables import pair, write, write_odd_table
from tests.pipelines.report.run_folders import ok_outcome, write_run

ODD = "year_0, infinity, zone, ns, day, clock, latin, nan, price, raw, key, nested"


def render(record):
    return ok_outcome(record, video=f"shards/{record.shard:05d}/videos/{record.id}.mp4", sharpness=float("nan"))


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_odd_columns_are_exported_and_named_once(tmp_path):
    rows = write_odd_table(tmp_path / "m.parquet")
    write_run(tmp_path / "run", rows, render, manifests=tmp_path, shard_size=1, video=b"video")
    notes = []
    written = list(export_webdataset(str(tmp_path / "run"), str(tmp_path / "tars"), on_note=notes.append))
    assert [count for _, count in written] == [1, 1]
    with tarfile.open(tmp_path / "tars/00000.tar") as tar:
        row = json.loads(tar.extractfile("00000-00000.json").read(), parse_constant=refuse_constant)
    assert (row["view"], row["nan"], row["metric_sharpness"]) == ("a", "NaN", "NaN")
    assert notes == [
        f"JSON cannot hold some values of these columns, which are written as text: metric_sharpness, {ODD}"
    ]


@pytest.mark.parametrize("odd", [True, False])
def test_the_note_does_not_mix_with_the_list_of_files(tmp_path, odd):
    rows = write_odd_table(tmp_path / "m.parquet") if odd else write(tmp_path / "m.csv", [pair(0)])
    outcome = render if odd else lambda record: ok_outcome(record, video=render(record).video, sharpness=1.0)
    write_run(tmp_path / "run", rows, outcome, manifests=tmp_path, video=b"video")
    app = typer.Typer()
    app.command()(export_command)
    result = CliRunner().invoke(app, [str(tmp_path / "run"), "--out", str(tmp_path / "tars")])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.startswith("note: JSON cannot hold" if odd else "")
    assert bool(result.stderr) == odd
