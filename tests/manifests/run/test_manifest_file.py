import math
import uuid
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.run.description import ManifestSource
from manifests.run.manifest_file import MANIFEST, RunManifest, write_manifest
from manifests.scan import Scan
from manifests.storage import open_storage
from tests.child_process import run_in_child
from tests.damaged_parquet import contradict_footer
from tests.manifests.tables import FORMATS, copied, pair, scanned, shards_of, write


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.integers(1, 40), size=st.integers(1, 50), group=st.integers(1, 50), bad=st.sets(st.integers(0, 39)))
def test_the_shards_hold_every_good_row_once_and_in_order(tmp_path, suffix, rows, size, group, bad):
    contents = [pair(n, mode="x" if n in bad else "human", note=f"n{n}") for n in range(rows)]
    path = write(tmp_path / f"m.{suffix}", contents, row_group_size=group)
    run = copied(path, tmp_path / "run", size)
    shards = shards_of(run)
    expected = [record for record in scanned(path)[0] if record]
    assert [replace(record, shard=0) for shard in shards for record in shard.records] == expected
    assert all(record.shard == shard.number for shard in shards for record in shard.records)
    assert [len(shard.records) for shard in shards[:-1]] == [size] * (len(shards) - 1)
    assert len(run) == math.ceil(len(expected) / size)
    notes = [note for shard in shards for note in shard.extra.column("note").to_pylist()]
    assert notes == [f"n{n}" for n in range(rows) if n not in bad]
    assert run.records == len(notes)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("change", ["edited", "moved", "deleted"])
def test_changes_of_the_source_have_no_effect(tmp_path, suffix, change):
    path = write(tmp_path / f"m.{suffix}", [pair(n, note=f"n{n}") for n in range(11)])
    run = copied(path, tmp_path / "run")
    before = [shard.table for shard in shards_of(run)]
    if change == "edited":
        write(path, [pair(n, image="other.png") for n in range(7)])
    elif change == "moved":
        path.rename(tmp_path / "elsewhere")
    else:
        path.unlink()
    for again in (run, RunManifest(open_storage(tmp_path / "run"))):
        assert [shard.table for shard in shards_of(again)] == before
        assert (len(again), again.records, again.priorities) == (3, 11, [0, 0, 0])


def test_a_shard_is_read_without_the_rest_of_the_file(tmp_path):
    run = copied(write(tmp_path / "m.csv", [pair(n) for n in range(4000)]), tmp_path / "run", 100)
    file = tmp_path / "run" / MANIFEST
    metadata, content = pq.read_metadata(file), bytearray(file.read_bytes())
    for number in {*range(40)} - {37}:
        group = metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            start, size = column.data_page_offset, column.total_compressed_size
            content[start : start + size] = bytes(size)
    file.write_bytes(content)
    assert [record.id for record in run.read_shard(37).records] == [f"r{n}" for n in range(3700, 3800)]
    with pytest.raises(ManifestError, match=r"run_unreadable: .*manifest\.parquet"):
        run.read_shard(36)


def test_media_have_absolute_locations_and_their_written_form(tmp_path):
    rows = [
        pair(0, image="x/../a.png", video="s3://bucket/v.mp4"),
        pair(1, image="/data/b.png", audio=None, motion="m"),
    ]
    (shard,) = shards_of(copied(write(tmp_path / "m.jsonl", rows), tmp_path / "run"))
    first, second = shard.records
    assert (first.image, first.audio, first.motion) == (f"{tmp_path}/a.png", f"{tmp_path}/s0.wav", None)
    assert (first.video, second.image, second.motion) == ("s3://bucket/v.mp4", "/data/b.png", f"{tmp_path}/m")
    written = shard.table.select([f"written_{name}" for name in ("image", "audio", "motion", "video")])
    assert [list(row.values()) for row in written.to_pylist()] == [
        ["x/../a.png", "s0.wav", None, "s3://bucket/v.mp4"],
        ["/data/b.png", None, "m", None],
    ]


def test_passed_through_columns_with_reserved_names_are_renamed(tmp_path):
    rows = [pair(0, row="r", input_row="i", written_image="w", status="mine")]
    (shard,) = shards_of(copied(write(tmp_path / "m.csv", rows), tmp_path / "run"))
    assert shard.extra.to_pylist() == [
        {"input_row": "r", "input_input_row": "i", "input_written_image": "w", "status": "mine"}
    ]
    assert shard.records[0].row == 2


def test_the_rows_of_a_run_are_a_valid_manifest(tmp_path):
    rows = [pair(n, seed=n, mode="animal", priority=n, cfg_scale=1.5, note=f"n{n}") for n in range(5)]
    first = copied(write(tmp_path / "m.csv", rows), tmp_path / "one")
    second = copied(tmp_path / "one" / MANIFEST, tmp_path / "two", 2)
    again = [record for shard in shards_of(second) for record in shard.records]
    names = ("id", "image", "audio", "given_seed", "mode", "priority", "cfg_scale")
    assert [[getattr(record, name) for name in names] for record in again] == [
        [getattr(record, name) for name in names] for shard in shards_of(first) for record in shard.records
    ]
    assert second.read_shard(2).extra.column("note").to_pylist() == ["n4"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 1000, None])
def test_a_damaged_file_gives_one_sentence(tmp_path, content):
    if content is None:
        pq.write_table(pa.table({"priority": ["a table of something else"]}), tmp_path / MANIFEST)
    else:
        (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ManifestError, match=r"run_unreadable: .*manifest\.parquet"):
        RunManifest(open_storage(tmp_path)).read_shard(0)


def read_ids(folder):
    return [record.id for shard in shards_of(RunManifest(open_storage(folder))) for record in shard.records]


def test_a_footer_that_contradicts_itself_does_not_end_the_process(tmp_path):
    copied(write(tmp_path / "m.csv", [pair(n) for n in range(9)]), tmp_path / "run")
    contradict_footer(tmp_path / "run" / MANIFEST)
    assert len(run_in_child(read_ids, tmp_path / "run")) == 9


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shard_priorities", "[0, 0]"),
        ("shard_priorities", '["0", 0, 0]'),
        ("shard_priorities", "{}"),
        ("source_files", "[]"),
        ("source_files", "3"),
        ("source_files", '["", 1]'),
        ("source_files", '["", {}, 1]'),
        ("source_files", "["),
    ],
)
def test_damaged_metadata_gives_one_sentence(tmp_path, key, value):
    copied(write(tmp_path / "m.csv", [pair(n) for n in range(9)]), tmp_path / "run")
    file = tmp_path / "run" / MANIFEST
    table = pq.read_table(file)
    metadata = {"shard_priorities": "[0, 0, 0]", key: value}
    pq.write_table(table.replace_schema_metadata(metadata), file, row_group_size=4)
    with pytest.raises(ManifestError, match=r"run_unreadable: .*: cannot be read .*restore it or start a new run"):
        RunManifest(open_storage(tmp_path / "run"))


def source_of(path, folder):
    scan = Scan(open_manifest(path))
    write_manifest(scan, folder / MANIFEST, shard_size=4)
    return ManifestSource.from_scan(scan.manifest, folder / MANIFEST, scan.summary)


def test_the_file_is_reproducible(tmp_path):
    path = write(tmp_path / "m.jsonl", [pair(n, n=n) for n in range(50)])
    source = source_of(path, tmp_path)
    content = (tmp_path / MANIFEST).read_bytes()
    assert source_of(path, tmp_path) == source
    assert (tmp_path / MANIFEST).read_bytes() == content
    assert (source.uri, source.folder, source.format) == (str(path), str(tmp_path), "jsonl")
    assert (source.rows, source.records, source.modes) == (50, 50, {"human": 50})


@pytest.mark.parametrize("change", ["value", "passed-through column", "removed row", "order"])
def test_the_fingerprint_depends_on_the_rows(tmp_path, change):
    rows = [pair(n, note="a") for n in range(12)]
    source = source_of(write(tmp_path / "m.csv", rows), tmp_path)
    if change == "value":
        rows[6]["image"] = "q9.png"
    elif change == "passed-through column":
        rows[6]["note"] = "b"
    elif change == "removed row":
        del rows[6]
    else:
        rows[5], rows[6] = rows[6], rows[5]
    assert source_of(write(tmp_path / "m.csv", rows), tmp_path).fingerprint != source.fingerprint


def test_a_shard_has_the_highest_priority_of_its_records(tmp_path):
    run = copied(write(tmp_path / "m.csv", [pair(n, priority=n - 6) for n in range(8)]), tmp_path / "run")
    assert run.priorities == [-3, 1]


def test_shards_span_files_and_missing_columns_are_null(tmp_path):
    write(tmp_path / "a.parquet", [pair(n, speaker="x") for n in range(5)])
    write(tmp_path / "b.parquet", [pair(n, take=n) for n in range(10, 13)])
    shards = shards_of(copied(tmp_path, tmp_path / "run"))
    assert [len(shard.records) for shard in shards] == [4, 4]
    assert shards[1].extra.to_pylist() == [
        {"speaker": "x", "take": None},
        *({"speaker": None, "take": n} for n in range(10, 13)),
    ]


def test_problems_are_reported_in_order(tmp_path):
    problems = []
    path = write(tmp_path / "m.csv", [pair(n, mode="x" if n % 3 else "human") for n in range(9)])
    write_manifest(Scan(open_manifest(path)), tmp_path / MANIFEST, on_problem=problems.append)
    assert [problem.row for problem in problems] == [3, 4, 6, 7, 9, 10]


def test_a_manifest_without_a_good_row_has_no_shard(tmp_path):
    run = copied(write(tmp_path / "m.csv", [pair(n, mode="x") for n in range(9)]), tmp_path / "run")
    assert (len(run), run.records, run.priorities) == (0, 0, [])


def test_shard_size_zero_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="shard_size"):
        copied(write(tmp_path / "m.csv", [pair(0)]), tmp_path / "run", 0)


def test_a_full_disk_gives_one_sentence(tmp_path):
    path = write(tmp_path / "m.csv", [pair(n) for n in range(10)])
    with pytest.raises(ManifestError, match="output_unwritable: /dev/full"):
        write_manifest(Scan(open_manifest(path)), Path("/dev/full"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_manifest_and_run_folder_can_be_in_an_object_store(tmp_path, s3_bucket, suffix):
    local = write(tmp_path / f"m.{suffix}", [pair(n, note=f"ä{n}") for n in range(500)], row_group_size=70)
    fs = fsspec.filesystem("s3")
    fs.put_file(str(local), f"{s3_bucket}/set/m.{suffix}")
    copied(f"{s3_bucket}/set/m.{suffix}", tmp_path / "run", 64)
    fs.rm(f"{s3_bucket}/set/m.{suffix}")
    storage = open_storage(f"{s3_bucket}/{uuid.uuid4().hex}")
    storage.write(MANIFEST, (tmp_path / "run" / MANIFEST).read_bytes())
    shard = RunManifest(storage).read_shard(5)
    assert [record.id for record in shard.records] == [f"r{n:04d}" for n in range(320, 384)]
    assert shard.extra.column("note").to_pylist() == [f"ä{n}" for n in range(320, 384)]
    assert shard.records[0].image == f"{s3_bucket}/set/p5.png"
