"""Runs use the rows that meet conditions on the columns of the manifest, up to a limit."""

import pyarrow.parquet as pq
import pytest

from joyvasa.errors import InputError
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.run.description import ManifestSource
from manifests.run.manifest_file import write_manifest
from manifests.scan import Scan
from tests.manifests.tables import FORMATS, write

ROWS = [
    {"record_id": "a", "image": "p/1.jpg", "audio": "1.wav", "mode": "human", "cfg_scale": 2.0, "voice": "anna"},
    {"record_id": "b", "image": "p/2.jpg", "audio": "1.wav", "mode": None, "cfg_scale": None, "voice": "ben"},
    {"record_id": "c", "image": "q/3.jpg", "audio": "1.wav", "mode": "animal", "cfg_scale": 4.0, "voice": "anna"},
    {"record_id": "d", "image": "p/4.jpg", "audio": "1.wav", "mode": "human", "cfg_scale": 1.0, "voice": None},
]
BAD = {"record_id": "e", "image": "p/5.jpg", "audio": "1.wav", "mode": "fish", "cfg_scale": 1.0, "voice": "anna"}


def copy_rows(tmp_path, rows, *, name="pairs.jsonl", **options):
    """Return the ids of the copied rows, the summary and the description of the source."""
    manifest = open_manifest(write(tmp_path / name, rows))
    copy = tmp_path / "manifest.parquet"
    problems = []
    summary = write_manifest(Scan(manifest), copy, shard_size=3, on_problem=problems.append, **options)
    assert len({problem.row for problem in problems}) == summary.bad_rows
    return pq.read_table(copy)["record_id"].to_pylist(), summary, ManifestSource.from_scan(manifest, copy, summary)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        (['startswith(image, "p/")'], "abd"),
        (['mode == "human"', "cfg_scale == null"], "b"),
        (["cfg_scale >= 2"], "ac"),
        (['record_id in ["a", "d"]'], "ad"),
        (["priority == 0 and motion is null"], "abcd"),
    ],
)
def test_rows_that_meet_the_conditions_are_copied(tmp_path, format, conditions, ids):
    copied, summary, source = copy_rows(tmp_path, ROWS, name=f"pairs.{format}", where=conditions)
    assert copied == [*ids]
    assert (summary.rows, summary.left_out) == (4, 4 - len(ids))
    assert (source.rows, source.records, source.left_out) == (4, len(ids), 4 - len(ids))


def test_passed_through_columns_can_be_named(tmp_path):
    assert copy_rows(tmp_path, ROWS, where=['voice == "anna"'])[0] == ["a", "c"]


def test_only_modes_of_copied_rows_are_stated(tmp_path):
    assert copy_rows(tmp_path, ROWS)[2].modes == {"human": 3, "animal": 1}
    assert copy_rows(tmp_path, ROWS, where=['voice == "ben"'])[2].modes == {"human": 1}
    assert copy_rows(tmp_path, ROWS, limit=2)[2].modes == {"human": 2}


def test_rows_after_the_limit_are_neither_checked_nor_counted(tmp_path):
    copied, summary, _ = copy_rows(tmp_path, [ROWS[1], *ROWS[:1], BAD, ROWS[2]], where=['voice == "anna"'], limit=1)
    assert copied == ["a"]
    assert (summary.rows, summary.bad_rows, summary.left_out) == (2, 0, 1)
    copied, summary, source = copy_rows(tmp_path, [ROWS[1], BAD, *ROWS[2:]], where=['voice == "anna"'], limit=1)
    assert copied == ["c"]
    assert (summary.rows, summary.bad_rows, summary.left_out, source.records) == (3, 1, 1, 1)


@pytest.mark.slow
def test_a_limit_stops_reading(tmp_path):
    rows = [{"record_id": f"r{n}", "image": "1.jpg", "audio": "1.wav"} for n in range(20_000)]
    copied, summary, _ = copy_rows(tmp_path, rows, name="pairs.csv", limit=8193)
    assert (len(copied), summary.rows) == (8193, 8193)
    scan = Scan(open_manifest(tmp_path / "pairs.csv"))
    write_manifest(scan, tmp_path / "manifest.parquet", limit=5)
    assert scan.summary.rows == 8192
    assert copy_rows(tmp_path, rows[:7], limit=99)[1].rows == 7


def test_conditions_that_no_row_meets_are_an_error(tmp_path):
    with pytest.raises(ManifestError, match=r"rows_missing: .*none of 4 rows meets voice == .cleo."):
        copy_rows(tmp_path, ROWS, where=['voice == "cleo"'])


def test_unknown_columns_are_refused_before_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Scan, "blocks", None)
    with pytest.raises(InputError, match=r"column_unknown: .*did you mean voice"):
        copy_rows(tmp_path, ROWS, where=['voise == "anna"'])
