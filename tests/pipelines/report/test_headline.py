import pytest

from pipelines.report.headline import build_headline
from pipelines.report.rows import RunRows
from tests.pipelines.report.runs import bad, good, made_run, statistics

ROWS = [{"record_id": f"r{n}", "image": "p.png", "audio": "s.wav"} for n in range(10)]


@pytest.fixture
def read(tmp_path):
    def make(parts=(), shards=None):
        folder = made_run(
            tmp_path / "run",
            ROWS,
            lambda record: bad(record) if record.id == "r1" else good(record),
            manifests=tmp_path,
            shard_size=4,
            parts=parts,
            shards=shards,
        )
        (tmp_path / "columns").mkdir()
        rows = RunRows(folder, tmp_path / "columns")
        rows.read()
        return rows, folder

    return make


def found(read, events, **more):
    rows, _folder = read(**more)
    return build_headline(rows, events, records=10)


def logged(*parts):
    for part in parts:
        yield {"event": "run_started", "stages": [*part["stages"]]}
        yield {"event": "worker_ready", "stage": "render"}
        yield {"event": "run_ended" if "error" in part else "progress", **part}


def test_records_of_unfinished_shards_are_pending(read):
    head = found(read, [], shards=2)
    assert (head.records, head.pending, dict(head.statuses)) == (10, 2, {"ok": 7, "failed": 1})
    assert (head.frames, head.video_s) == (700, 28.0)


def test_parts_of_a_run_are_added_up(read):
    render = {"totals": {"frames": 250}, "busy_s": 40.0, "lost_s": 5.0, "retries": 2, "worker_crashes": 1}
    head = found(read, logged(statistics(gpus=2.0, **render), statistics(gpus=2.0, elapsed_s=50, **render)))
    assert (head.parts, head.torn_parts, head.elapsed_s) == (2, 0, 150.0)
    assert (head.lost_s, head.retries, head.worker_crashes) == (10.0, 4, 2)
    assert (head.gpus, head.gpu_s) == (2.0, 300.0)
    assert head.frames_per_gpu_s == pytest.approx(500 / 300)
    assert head.frames_per_s == pytest.approx(500 / 150)
    render_share = next(stage for stage in head.stages if stage.name == "render").busy_s / head.busy_s
    assert render_share == pytest.approx(80 / 100)


def test_batch_fill_counts_stages_by_their_time(read):
    head = found(read, logged(statistics(batches=10, filled=30, busy_s=90.0)))
    assert head.batch_fill == pytest.approx(0.9 * 30 / 40 + 0.1 * 8 / 16)


def test_a_part_whose_driver_died_counts_with_its_last_note(read):
    head = found(read, logged(statistics(ended=False, elapsed_s=30), statistics(elapsed_s=20)))
    assert (head.parts, head.torn_parts, head.elapsed_s) == (2, 1, 50.0)


def test_without_events_the_rows_tell_the_stages_apart(read):
    head = found(read, [])
    assert {stage.name: stage.busy_s for stage in head.stages} == {"motion": 4.5, "render": 18.0}
    assert (head.frames_per_s, head.frames_per_gpu_s, head.batch_fill) == (None, None, None)
