import pytest

from pipelines.report.headline import build_headline
from pipelines.report.rows import OutcomeRows
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, statistics, write_run

ROWS = [{"record_id": f"r{n}", "image": "p.png", "audio": "s.wav"} for n in range(10)]


@pytest.fixture
def read(tmp_path):
    def make(parts=(), shards=None):
        folder = write_run(
            tmp_path / "run",
            ROWS,
            lambda record: failed_outcome(record) if record.id == "r1" else ok_outcome(record),
            manifests=tmp_path,
            shard_size=4,
            parts=parts,
            shards=shards,
        )
        (tmp_path / "columns").mkdir()
        rows = OutcomeRows(folder, tmp_path / "columns")
        rows.read()
        return rows, folder

    return make


def compute_headline(read, events, **more):
    rows, _folder = read(**more)
    return build_headline(rows, events, records=10)


def log_events(*parts):
    for part in parts:
        yield {"event": "run_started", "stages": [*part["stages"]]}
        yield {"event": "worker_ready", "stage": "render"}
        yield {"event": "run_ended" if "error" in part else "progress", **part}


def test_records_of_unfinished_shards_are_pending(read):
    headline = compute_headline(read, [], shards=2)
    assert (headline.records, headline.pending, dict(headline.statuses)) == (10, 2, {"ok": 7, "failed": 1})
    assert (headline.frames, headline.video_s) == (700, 28.0)


def test_parts_of_a_run_are_added_up(read):
    render = {"totals": {"frames": 250}, "busy_s": 40.0, "lost_s": 5.0, "retries": 2, "worker_crashes": 1}
    headline = compute_headline(
        read, log_events(statistics(gpus=2.0, **render), statistics(gpus=2.0, elapsed_s=50, **render))
    )
    assert (headline.parts, headline.torn_parts, headline.elapsed_s) == (2, 0, 150.0)
    assert (headline.lost_s, headline.retries, headline.worker_crashes) == (10.0, 4, 2)
    assert (headline.gpus, headline.gpu_s) == (2.0, 300.0)
    assert headline.frames_per_gpu_s == pytest.approx(500 / 300)
    assert headline.frames_per_s == pytest.approx(500 / 150)
    render_share = next(stage for stage in headline.stages if stage.name == "render").busy_s / headline.busy_s
    assert render_share == pytest.approx(80 / 100)


def test_batch_fill_is_weighted_with_computing_time(read):
    headline = compute_headline(read, log_events(statistics(batches=10, filled=30, busy_s=90.0)))
    assert headline.batch_fill == pytest.approx(0.9 * 30 / 40 + 0.1 * 8 / 16)


def test_a_part_whose_driver_crashed_counts_with_its_last_progress_event(read):
    headline = compute_headline(read, log_events(statistics(ended=False, elapsed_s=30), statistics(elapsed_s=20)))
    assert (headline.parts, headline.torn_parts, headline.elapsed_s) == (2, 1, 50.0)


@pytest.mark.parametrize("change", [{"elapsed_s": "x"}, {"stages": []}, {"stages": {"render": 3}}])
def test_a_damaged_event_is_skipped(read, change):
    events = [*log_events(statistics(elapsed_s=20)), {"event": "progress", **statistics(elapsed_s=30), **change}]
    headline = compute_headline(read, events)
    assert (headline.parts, headline.torn_parts, headline.elapsed_s) == (1, 0, 20.0)


def test_without_events_the_seconds_of_stages_come_from_the_rows(read):
    headline = compute_headline(read, [])
    assert {stage.name: stage.busy_s for stage in headline.stages} == {"motion": 4.5, "render": 18.0}
    assert (headline.frames_per_s, headline.frames_per_gpu_s, headline.batch_fill) == (None, None, None)
