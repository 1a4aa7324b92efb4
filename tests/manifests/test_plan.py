import math

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.errors import ManifestError
from manifests.manifest import open_manifest
from manifests.plan import make_plan, parse_plan, plan_bytes
from manifests.run.shards import read_shard
from manifests.scan import Scan
from tests.manifests.tables import FORMATS, pair, scanned, write


def planned(path, size=4):
    manifest = open_manifest(path)
    return manifest, make_plan(Scan(manifest), shard_size=size)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.integers(1, 40), size=st.integers(1, 50), group=st.integers(1, 50), bad=st.sets(st.integers(0, 39)))
def test_the_shards_hold_every_good_row_once_and_in_order(tmp_path, suffix, rows, size, group, bad):
    contents = [pair(n, mode="x" if n in bad else "human", note=f"n{n}") for n in range(rows)]
    path = write(tmp_path / f"m.{suffix}", contents, row_group_size=group)
    manifest, plan = planned(path, size)
    assert len(plan) == math.ceil(rows / size)
    shards = [read_shard(manifest, plan, number) for number in range(len(plan))]
    expected, _, _ = scanned(path)
    assert [record for shard in shards for record in shard.records] == [record for record in expected if record]
    notes = [note for shard in shards for note in shard.extra.column("note").to_pylist()]
    assert notes == [f"n{n}" for n in range(rows) if n not in bad]
    assert plan.records == len(notes) == sum(shard.records for shard in plan)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_shard_is_read_without_the_rest_of_the_file(tmp_path, suffix):
    path = write(tmp_path / f"m.{suffix}", [pair(n) for n in range(4000)], row_group_size=100)
    manifest, plan = planned(path, 100)
    content = path.read_bytes()
    shard = plan[37]
    if suffix == "parquet":
        assert (shard.row_group, shard.offset) == (37, 0)
        return
    rest = b"x" * shard.offset + content[shard.offset : shard.offset + shard.length]
    header = content[: content.index(b"\n") + 1] if suffix != "jsonl" else b""
    path.write_bytes(header + rest[len(header) :])
    assert [record.record_id for record in read_shard(manifest, plan, 37).records] == [
        f"r{n}" for n in range(3700, 3800)
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_plan_survives_its_file(tmp_path, suffix):
    manifest, plan = planned(write(tmp_path / f"m.{suffix}", [pair(n, mode="x" * (n == 5), n=n) for n in range(11)]))
    again = parse_plan(plan_bytes(plan))
    assert list(again) == list(plan)
    assert (again.fingerprint, again.shard_size, again.extra) == (plan.fingerprint, 4, plan.extra)
    assert read_shard(manifest, again, 1) == read_shard(manifest, plan, 1)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 1000])
def test_a_damaged_plan_is_one_sentence(content):
    with pytest.raises(ManifestError, match="plan_unreadable"):
        parse_plan(content)


def content_hashes(plan):
    return plan.table.column("content_hash").to_pylist()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("change", ["value", "row lost", "order"])
def test_changed_rows_are_noticed_and_named(tmp_path, suffix, change):
    rows = [pair(n) for n in range(12)]
    path = write(tmp_path / f"m.{suffix}", rows)
    manifest, plan = planned(path)
    if change == "value":
        rows[6] = pair(6, image="q9.png")
    elif change == "row lost":
        del rows[6]
    else:
        rows[5], rows[6] = rows[6], rows[5]
    _, other = planned(write(path, rows))
    changed = [old != new for old, new in zip(content_hashes(plan), content_hashes(other), strict=True)]
    assert changed == ([False, True, True] if change == "row lost" else [False, True, False])
    assert plan.fingerprint != other.fingerprint
    read_shard(manifest, plan, 0)
    with pytest.raises(ManifestError, match=r"manifest_changed: .*shard 1 "):
        read_shard(manifest, plan, 1)


def test_planning_again_gives_the_same_plan(tmp_path):
    path = write(tmp_path / "m.jsonl", [pair(n, n=n) for n in range(50)])
    assert plan_bytes(planned(path)[1]) == plan_bytes(planned(path)[1])


def test_passed_columns_do_not_change_the_content_hash_but_the_fingerprint(tmp_path):
    _, one = planned(write(tmp_path / "m.csv", [pair(n, note="a") for n in range(5)]))
    _, other = planned(write(tmp_path / "m.csv", [pair(n, note="b") for n in range(5)]))
    assert content_hashes(one) == content_hashes(other)
    assert one.fingerprint != other.fingerprint


def test_a_shard_has_the_highest_priority_of_its_records(tmp_path):
    _, plan = planned(write(tmp_path / "m.csv", [pair(n, priority=n - 6) for n in range(8)]))
    assert [shard.priority for shard in plan] == [-3, 1]


def test_shards_do_not_reach_over_files_and_missing_columns_are_null(tmp_path):
    write(tmp_path / "a.parquet", [pair(n, speaker="x") for n in range(5)])
    write(tmp_path / "b.parquet", [pair(n, take=n) for n in range(10, 13)])
    manifest, plan = planned(tmp_path)
    assert [(shard.file, shard.rows) for shard in plan] == [("a.parquet", 4), ("a.parquet", 1), ("b.parquet", 3)]
    assert read_shard(manifest, plan, 2).extra.to_pylist() == [{"speaker": None, "take": n} for n in range(10, 13)]


def test_problems_are_handed_on_in_order(tmp_path):
    found = []
    path = write(tmp_path / "m.csv", [pair(n, mode="x" if n % 3 else "human") for n in range(9)])
    make_plan(Scan(open_manifest(path)), on_problem=found.append)
    assert [problem.row for problem in found] == [3, 4, 6, 7, 9, 10]


def test_a_shard_needs_a_row(tmp_path):
    with pytest.raises(ManifestError, match="shard_size"):
        planned(write(tmp_path / "m.csv", [pair(0)]), 0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_shards_are_read_from_an_object_store(tmp_path, s3_bucket, suffix):
    local = write(tmp_path / f"m.{suffix}", [pair(n, note=f"ä{n}") for n in range(500)], row_group_size=70)
    fsspec.filesystem("s3").put_file(str(local), f"{s3_bucket}/set/m.{suffix}")
    manifest, plan = planned(f"{s3_bucket}/set/m.{suffix}", 64)
    shard = read_shard(manifest, plan, 5)
    assert [record.record_id for record in shard.records] == [f"r{n:04d}" for n in range(320, 384)]
    assert shard.extra.column("note").to_pylist() == [f"ä{n}" for n in range(320, 384)]
    assert manifest.locate(shard.records[0].image) == f"{s3_bucket}/set/p5.png"
    assert plan.fingerprint == planned(local, 64)[1].fingerprint
