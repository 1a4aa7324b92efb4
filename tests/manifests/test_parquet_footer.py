"""Footers of Parquet files are read without ending the process, and damaged ones give one sentence."""

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from joyvasa.errors import InputError
from manifests.formats.parquet_footer import read_null_counts
from stages.media import local_file
from tests.child_process import run_in_child
from tests.damaged_parquet import contradict_footer
from tests.manifests.data_sets import media_table
from tests.manifests.tables import scanned

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "options", [{}, {"version": "1.0"}, {"write_page_index": True, "sorting_columns": [pq.SortingColumn(0)]}]
)
def test_null_counts_are_those_of_arrow(options):
    table = pa.table(
        {
            "text": ["x" * n if n % 3 else None for n in range(300)],
            "number": [n if n % 7 else None for n in range(300)],
            "yes": [True, None, False] * 100,
            "real": [n / 7 for n in range(300)],
            "nested": [{"a": [1.5, None], "b": None}] * 300,
        },
        metadata={"key": "value" * 100},
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=20, **options)
    metadata = pq.read_metadata(file)
    for column in range(metadata.num_columns):
        chunks = [metadata.row_group(number).column(column) for number in range(metadata.num_row_groups)]
        expected = [chunk.statistics and chunk.statistics.null_count for chunk in chunks]
        assert read_null_counts(metadata, [column]) == [expected]
    assert read_null_counts(metadata, [99]) == [[None] * 15]


def test_a_file_without_statistics_states_no_null_counts():
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1, None, 3]}), file, write_statistics=False, row_group_size=2)
    assert read_null_counts(pq.read_metadata(file), [0]) == [[None, None]]


def count_rows(path):
    return len(scanned(path)[0])


def read(location):
    with local_file(location) as path:
        return path.read_bytes()


def test_a_data_set_whose_footer_contradicts_itself_does_not_end_the_process(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(media_table(6), path, row_group_size=3)
    contradict_footer(path)
    assert run_in_child(count_rows, path) == 6
    assert run_in_child(read, f"cell://image/2::{path}") == b"picture 1"


def test_names_in_a_file_that_are_not_utf8_give_one_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(media_table(6), path)
    path.write_bytes(path.read_bytes().replace(b"image", b"im\xffge"))
    with pytest.raises(InputError, match=r"archive_unreadable: .*utf-8"):
        read(f"cell://image/1::{path}")


def test_no_module_asks_arrow_for_the_metadata_of_a_column_chunk():
    files = [file for room in ("joyvasa", "stages", "manifests", "pipelines") for file in (ROOT / room).rglob("*.py")]
    asks = re.compile(r"row_group\([^)]*\)\.column\(|has_min_max|format=.parquet.[^)]*\)\.\w+\(.*filter")
    lines = [f"{file.relative_to(ROOT)}: {line}" for file in files for line in file.read_text().splitlines()]
    assert lines
    assert not [line for line in lines if asks.search(line) and "`" not in line]
