import dataclasses
import json
import os
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from joyvasa.errors import InputError
from joyvasa.runtime.result_tables import find_finished_tables, read_table
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.run.description import ManifestSource, RunDescription
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import write_manifest
from manifests.run.outcome_table import encode_parquet
from manifests.scan import Scan
from manifests.storage import open_storage
from tests.manifests.run.outcomes import failed_outcome, make_outcome
from tests.manifests.tables import pair, write, write_odd_table
from tests.pipelines.report.run_folders import write_run

CONFIGURATION = {"seed": 1, "sampling": {"steps": 50, "kinds": ["a"]}}


class Run:
    """A run of ten records in shards of four, and the actions of its driver."""

    def __init__(self, storage, tmp_path):
        rows = [pair(n, speaker=f"s{n}") for n in range(10)]
        source = write(tmp_path / "m.csv", rows)
        scan = Scan(open_manifest(source))
        self.rows = tmp_path / "rows.parquet"
        write_manifest(scan, self.rows, shard_size=4)
        source.unlink()  # it must not be read again
        source = ManifestSource.from_scan(scan.manifest, self.rows, scan.summary)
        self.description = RunDescription(CONFIGURATION, source, {"sample": {"motion": "ab"}}, {"joyvasa": "0.1"})
        self.folder = RunFolder(storage)
        self.folder.create(self.description, self.rows)
        self.manifest = self.folder.read_manifest()

    def shard(self, number):
        return self.manifest.read_shard(number)

    def render(self, number, record_id):
        path = self.folder.video_path(number, record_id)
        self.folder.storage.write(path, b"video of " + record_id.encode())
        return make_outcome(record_id, video=path)

    def finish(self, number, *, bad=()):
        records = self.shard(number).records
        outcomes = [failed_outcome(r.id) if r.id in bad else self.render(number, r.id) for r in records]
        return self.folder.finish_shard(self.shard(number), outcomes, run_fingerprint=self.description.fingerprint())


@pytest.fixture
def run(storage, tmp_path):
    return Run(storage, tmp_path)


def test_a_new_run_can_be_opened_again(run):
    again = RunFolder(run.folder.storage)
    assert (len(again.read_manifest()), again.read_manifest().records) == (3, 10)
    assert again.read_manifest().read_shard(1).table.equals(run.shard(1).table)
    assert dataclasses.replace(again.read_description(), created="", folder="") == run.description
    assert again.read_description().fingerprint() == run.description.fingerprint()
    with pytest.raises(ManifestError, match="run_exists"):
        again.create(run.description, run.rows)


def test_the_rows_are_written_before_the_description(storage, tmp_path, monkeypatch):
    written = []
    stage = type(storage)._stage

    @contextmanager
    def log_path(self, path):
        with stage(self, path) as staged:
            yield staged
        written.append(path)

    monkeypatch.setattr(type(storage), "_stage", log_path)
    Run(storage, tmp_path)
    assert written == [".partial-run", "manifest.parquet", "run.yaml"]


@pytest.mark.parametrize("killed_at", ["manifest.parquet", "run.yaml", "after"])
def test_a_start_that_was_killed_can_be_repeated(storage, tmp_path, monkeypatch, killed_at):
    class Killed(BaseException):
        pass

    stage = type(storage)._stage

    @contextmanager
    def die(self, path):
        if path == killed_at:
            raise Killed
        with stage(self, path) as staged:
            yield staged

    def die_after(self, path):
        raise Killed

    folder = RunFolder(storage)
    folder.require_free()
    with monkeypatch.context() as patch:
        patch.setattr(type(storage), "_stage", die)
        if killed_at == "after":
            patch.setattr(type(storage), "_remove", die_after)
        with pytest.raises(Killed):
            Run(storage, tmp_path)
    folder.require_free()
    if killed_at == "after":
        assert folder.read_manifest().records == 10
    else:
        assert Run(storage, tmp_path).manifest.records == 10
        assert [name for name in storage.names("") if name != "shards"] == ["manifest.parquet", "run.yaml"]


def test_files_of_a_user_are_not_replaced(storage):
    storage.write("manifest.parquet", b"mine")
    with pytest.raises(ManifestError, match=r"output_exists: .*manifest\.parquet: exists and is not from a run"):
        RunFolder(storage).require_free()


def test_files_of_a_killed_start_are_replaced_or_removed(storage, tmp_path):
    storage.write(".partial-1a2b3c4d-manifest.parquet", b"half")
    storage.write("manifest.parquet", b"of another manifest")
    run = Run(storage, tmp_path)
    assert run.manifest.records == 10
    assert [name for name in storage.names("") if name != "shards"] == ["manifest.parquet", "run.yaml"]


def test_a_folder_without_a_run_gives_one_sentence(storage):
    for read in (RunFolder(storage).read_manifest, RunFolder(storage).read_description):
        with pytest.raises(ManifestError, match="run_missing"):
            read()


def test_paths_are_stable(run):
    assert run.folder.records_path(7) == "shards/00007/records.parquet"
    assert run.folder.done_path(123456) == "shards/123456/_done.json"
    assert run.folder.video_path(0, "a") == "shards/00000/videos/a.mp4"
    assert run.folder.video_path(0, "../A").startswith("shards/00000/videos/A~")
    assert run.folder.motion_path(0, "a", ".npz") == "shards/00000/motion/a.npz"


def test_a_finished_shard_has_its_rows_and_a_marker(run):
    mark = run.finish(1, bad=["r0005"])
    assert run.folder.read_done_markers() == {1: mark}
    assert (mark.records, mark.statuses) == (4, {"ok": 3, "failed": 1})
    assert mark.run_fingerprint == run.description.fingerprint()
    table = run.folder.read_records(1)
    assert table.column("record_id").to_pylist() == [f"r{n:04d}" for n in range(4, 8)]
    assert table.column("speaker").to_pylist() == [f"s{n}" for n in range(4, 8)]
    counts = run.folder.count_records(run.manifest)
    assert (counts.shards, counts.finished_shards, counts.records, counts.pending) == (3, 1, 10, 6)


def test_tables_of_all_finished_shards_are_read_in_order(run):
    run.finish(2)
    run.finish(0, bad=["r0001"])
    rows = read_table(find_finished_tables(run.folder.storage.root), columns=["record_id", "status"]).to_pylist()
    assert [row["record_id"] for row in rows] == ["r0000", "r0001", "r0002", "r0003", "r0008", "r0009"]
    assert rows[1] == {"record_id": "r0001", "status": "failed"}


def test_an_incomplete_shard_or_a_missing_video_is_not_finished(run):
    outcomes = [run.render(0, record.id) for record in run.shard(0).records]
    for wrong in (outcomes[:3], [*outcomes[:3], make_outcome("r0003", video="shards/00000/videos/none.mp4")]):
        with pytest.raises(ManifestError, match=r"outcomes_incomplete|video_missing: .*none\.mp4"):
            run.folder.finish_shard(run.shard(0), wrong, run_fingerprint="")
        assert run.folder.read_done_markers() == {}
        assert not run.folder.storage.exists(run.folder.records_path(0))


def test_outcomes_of_an_unfinished_shard_are_saved_and_later_ones_win(run):
    run.folder.save_outcomes(0, [run.render(0, "r0000"), failed_outcome("r0001")])
    run.folder.save_outcomes(0, [run.render(0, "r0001")])
    saved = RunFolder(run.folder.storage).read_saved_outcomes(0)
    assert {record_id: record.status for record_id, record in saved.items()} == {"r0000": "ok", "r0001": "ok"}
    assert saved["r0000"] == make_outcome("r0000")
    assert run.folder.count_records(run.manifest).statuses == {"ok": 2}
    run.folder.storage.remove(run.folder.video_path(0, "r0000"))
    assert set(run.folder.read_saved_outcomes(0)) == {"r0001"}
    run.finish(0)
    assert run.folder.read_saved_outcomes(0) == {}
    assert run.folder.count_records(run.manifest).statuses == {"ok": 4}


def test_files_of_a_crashed_driver_are_removed_and_saved_outcomes_stay(run):
    storage = run.folder.storage
    run.finish(1)
    run.folder.save_outcomes(0, [run.render(0, "r0000")])
    run.render(0, "r0001")  # rendered, but its outcome was never saved
    partial = [
        "videos/.partial-1a2b3c4d-r0002.mp4",
        "saved/.partial-1a2b3c4d-1.jsonl",
        ".partial-1a2b3c4d-records.parquet",
    ]
    partial += ["records.parquet", "motion/r0001.npz"]
    for path in partial:
        storage.write(f"shards/00000/{path}", b"half")
    removed = run.folder.clean_shard(0)
    assert sorted(removed) == sorted(f"shards/00000/{path}" for path in [*partial, "videos/r0001.mp4"])
    assert not any(storage.exists(path) for path in removed)
    assert set(run.folder.read_saved_outcomes(0)) == {"r0000"}
    assert run.folder.clean_shard(0) == []
    assert run.folder.clean_shard(1) == []
    assert run.folder.read_records(1).num_rows == 4


def test_an_incomplete_marker_is_ignored(run):
    run.finish(0)
    run.folder.storage.write(run.folder.done_path(0), b'{"shard": 0, ')
    assert run.folder.read_done_markers() == {}
    assert run.folder.done_path(0) in run.folder.clean_shard(0)


@pytest.mark.parametrize(
    "change",
    [
        {"records": "x"},
        {"records": 7},
        {"shard": 3},
        {"statuses": None},
        {"statuses": {"ok": -1}},
        {"statuses": {"ok": 1e400}},
    ],
)
def test_a_damaged_marker_is_ignored(run, change):
    run.finish(0)
    marker = json.loads(run.folder.storage.read(run.folder.done_path(0)))
    run.folder.storage.write(run.folder.done_path(0), json.dumps(marker | change).encode())
    assert run.folder.read_done_marker(0) is None
    assert run.folder.count_records(run.manifest).finished_shards == 0


def test_a_damaged_line_of_saved_outcomes_loses_no_other(run):
    run.folder.save_outcomes(0, [run.render(0, f"r000{n}") for n in range(3)])
    (name,) = run.folder.storage.names("shards/00000/saved")
    lines = run.folder.storage.read(f"shards/00000/saved/{name}").splitlines()
    damaged = [lines[1].replace(b'"ok"', b'"o"'), lines[1].replace(b'"metrics": {', b'"metrics": 3, "x": {')]
    for line in (*damaged, lines[1][:50], b"null", b"[" * 100_000, b"\xff"):
        run.folder.storage.write(f"shards/00000/saved/{name}", b"\n".join([lines[0], line, lines[2]]))
        assert [*run.folder.read_saved_outcomes(0)] == ["r0000", "r0002"]


@pytest.mark.parametrize("value", [b"\xff", b"ok2"])
def test_damaged_outcome_rows_give_one_sentence(run, value):
    run.finish(0)
    table = run.folder.read_records(0)
    statuses = pa.array([value] * len(table), pa.binary()).view(pa.string())
    table = table.set_column(table.column_names.index("status"), table.schema.field("status"), statuses)
    run.folder.storage.write(run.folder.records_path(0), encode_parquet(table))
    with pytest.raises(InputError, match=r"records_unreadable: .*run the shard again"):
        run.folder.reopen_shard(0, ["failed"])


def test_the_rows_of_another_run_are_refused(run):
    table = pq.read_table(run.rows)
    numbers = table.set_column(table.column_names.index("row"), "row", table.column("row").cast(pa.string()))
    for other in (
        table.slice(0, 4),
        table.append_column("image", table.column("image")),
        numbers,
        table.drop(["mode"]),
    ):
        pq.write_table(other, run.rows)
        run.folder.storage.write(run.folder.MANIFEST, run.rows.read_bytes())
        with pytest.raises(ManifestError, match=r"run_unreadable: .*manifest\.parquet"):
            run.folder.read_manifest()


def test_a_reopened_shard_discards_failed_outcomes_only(run):
    run.finish(0, bad=["r0001"])
    assert run.folder.reopen_shard(0, {"quarantined"}) == 0
    assert set(run.folder.read_done_markers()) == {0}
    assert run.folder.reopen_shard(0, {"failed"}) == 1
    assert run.folder.read_done_markers() == {}
    saved = run.folder.read_saved_outcomes(0)
    assert sorted(saved) == ["r0000", "r0002", "r0003"]
    outcomes = [*saved.values(), run.render(0, "r0001")]
    mark = run.folder.finish_shard(run.shard(0), outcomes, run_fingerprint="")
    assert mark.statuses == {"ok": 4}


def test_records_with_missing_files_are_found_and_reopened(run):
    run.finish(0)
    run.finish(1)
    assert run.folder.find_missing_files() == []
    assert run.folder.count_retries({"missing"}) == 0
    lost = run.folder.video_path(0, "r0002")
    run.folder.storage.remove(lost)
    assert run.folder.find_missing_files() == [lost]
    assert run.folder.count_retries({"failed"}) == 0
    assert run.folder.count_retries({"failed", "missing"}) == 1
    assert run.folder.reopen_shard(0, {"missing"}) == 1
    assert run.folder.reopen_shard(1, {"missing"}) == 0
    assert sorted(run.folder.read_saved_outcomes(0)) == ["r0000", "r0001", "r0003"]


def test_the_marker_is_written_last(run, monkeypatch):
    written = []
    write_file = type(run.folder.storage).write
    monkeypatch.setattr(
        type(run.folder.storage),
        "write",
        lambda self, path, content: (written.append(path), write_file(self, path, content)),
    )
    run.finish(0)
    assert written[-2:] == ["shards/00000/records.parquet", "shards/00000/_done.json"]


def test_a_disk_that_fills_up_while_finishing_leaves_no_marker(run, monkeypatch):
    storage = run.folder.storage
    outcomes = [run.render(0, record.id) for record in run.shard(0).records]
    run.folder.save_outcomes(0, outcomes)

    stage = storage._stage

    @contextmanager
    def full(path):
        with stage(path) as staged:
            yield staged
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_stage", full)
    with pytest.raises(ManifestError, match="output_unwritable"):
        run.folder.finish_shard(run.shard(0), outcomes, run_fingerprint="")
    monkeypatch.undo()
    assert run.folder.read_done_markers() == {}
    assert len(run.folder.read_saved_outcomes(0)) == 4
    assert not any(name.startswith(".partial") for name in storage.names("shards/00000"))


def test_a_marker_is_readable_json(run):
    run.finish(2)
    content = json.loads(run.folder.storage.read("shards/00002/_done.json"))
    assert content["statuses"] == {"ok": 2}


def test_a_shard_is_reopened_whatever_its_passed_through_columns_hold(tmp_path):
    folder = write_run(
        tmp_path / "run",
        write_odd_table(tmp_path / "m.parquet"),
        lambda record: failed_outcome(record.id) if record.id == "r1" else make_outcome(record.id, video=None),
        manifests=tmp_path,
    )
    assert folder.reopen_shard(0, {"failed"}) == 1
    assert [*folder.read_saved_outcomes(0)] == ["r0"]


@pytest.mark.parametrize("moved", [True, False])
def test_relative_paths_are_found_after_the_run_moved_together_with_its_manifest(tmp_path, moved):
    project = tmp_path / "project"
    (project / "set").mkdir(parents=True)
    rows = write(project / "set" / "m.csv", [pair(0), pair(1, image="/data/p.png", audio="s3://b/s.wav")])
    write_run(project / "runs/one", rows, lambda record: failed_outcome(record.id), manifests=tmp_path)
    if moved:
        project = project.rename(tmp_path / "elsewhere")
    folder = RunFolder(open_storage(project / "runs/one"))
    first, second = folder.read_manifest().read_shard(0).records
    assert first.image == f"{project}/set/p0.png"
    assert (second.image, second.audio) == ("/data/p.png", "s3://b/s.wav")
    assert folder.find_source_folder(folder.read_description()) == f"{project}/set"


def test_paths_stay_valid_if_the_run_folder_moves_alone(tmp_path):
    rows = write(tmp_path / "m.csv", [pair(0)])
    write_run(tmp_path / "runs/one", rows, lambda record: failed_outcome(record.id), manifests=tmp_path)
    moved = (tmp_path / "runs/one").rename(tmp_path / "archive")
    (record,) = RunFolder(open_storage(moved)).read_manifest().read_shard(0).records
    assert record.image == f"{tmp_path}/p0.png"


def test_a_huge_description_is_not_read(tmp_path):
    (tmp_path / "run.yaml").touch()
    os.truncate(tmp_path / "run.yaml", 1 << 40)
    with pytest.raises(ManifestError, match=r"run_unreadable: run\.yaml cannot be read \(has more than 4 MiB\)"):
        RunFolder(open_storage(tmp_path)).read_description()
