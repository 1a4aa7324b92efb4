"""Records are paged, filtered and sorted, also while the run is active."""

import json
import shlex
from dataclasses import asdict
from datetime import datetime

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from joyvasa.errors import InputError
from manifests.problems import ManifestError
from manifests.run.events import EventLog
from manifests.run.outcome import STATUSES, RecordOutcome
from pipelines.cli.main import app
from pipelines.engine.statistics import Estimate
from pipelines.report.failures import explain_failures
from pipelines.runs.activity import SILENCE_S
from pipelines.runs.selection.options import SelectionOptions
from pipelines.web.columns import build_sliders
from pipelines.web.confinement import ConfinedStorage, RunsRoot, open_run
from pipelines.web.limits import ByteCache, Limits
from pipelines.web.marks import Marks
from pipelines.web.records import Query, collect_failures, find_records, list_codes, list_sort_columns
from pipelines.web.run_rows import RunRows
from pipelines.web.run_state import read_run_state
from pipelines.web.runs_browser import RunsBrowser
from pipelines.web.runs_page import CONTENTS, GALLERY, PARTS, RunsPage
from pipelines.web.templating import render_template
from tests.manifests.tables import write, write_odd_table
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, statistics, write_run

N = 30
VALUES = np.random.default_rng(0).permutation(N).astype(float)
HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{ 7*7 }} {{#each value}}"


def outcome(record):
    number = int(record.id.split("-")[1])
    if number % 10 == 3:
        return failed_outcome(record, "face_not_found")
    if number % 10 == 7:
        return failed_outcome(record, "worker_died", "it killed its worker", "quarantined")
    result = ok_outcome(record, video=f"shards/{number // 8:05d}/videos/{record.id}.mp4", sharpness=VALUES[number])
    return (
        RecordOutcome(**{**asdict(result), "warnings": "two faces", "warning_codes": "several_faces,crop_outside"})
        if number % 2
        else result
    )


@pytest.fixture
def run(tmp_path):
    rows = [{"record_id": f"id-{number}", "image": "a.jpg", "audio": "a.wav"} for number in range(N)]
    parts = [{**statistics(busy_s=10), "records": N, "ok": 10, "elapsed_s": 100.0, "error": None}]
    return write_run(tmp_path / "root/run", rows, outcome, manifests=tmp_path, video=b"video", shards=3, parts=parts)


@pytest.fixture
def rows(run, tmp_path):
    folder = open_run(RunsRoot(str(tmp_path / "root")), "run")
    run_rows = RunRows(folder, ByteCache(10_000_000))
    run_rows.refresh()
    return run_rows


def query(*where, status="ok", **options):
    return Query(SelectionOptions(statuses=(status,) if status else STATUSES, where=where), **options)


def ids(page):
    return [row["record_id"] for row in page.rows]


def test_pages_are_in_the_order_of_the_manifest(rows):
    first, last = (find_records(rows, query(status="", page=number), 10) for number in (0, 99))
    assert ids(first) == [f"id-{number}" for number in range(10)]
    assert (first.total, first.pages) == (24, 3)
    assert (last.number, ids(last)) == (2, [f"id-{number}" for number in range(20, 24)])


@pytest.mark.parametrize("descending", [False, True])
def test_records_without_a_value_come_last(rows, descending):
    page = find_records(rows, query(status="", sort="metric_sharpness", descending=descending), 100)
    values = [row["metric_sharpness"] for row in page.rows]
    present = [value for value in values if value is not None]
    assert present == sorted(present, reverse=descending)
    assert values[len(present) :] == [None] * 5
    assert len(present) == 19


def test_records_are_selected_by_status_and_conditions(rows):
    assert ids(find_records(rows, query(status="failed"), 10)) == ["id-3", "id-13", "id-23"]
    assert ids(find_records(rows, query('error_code == "worker_died"', status=""), 10)) == ["id-7", "id-17"]
    assert find_records(rows, query('contains(warning_codes, "crop_outside")'), 10).total == 7
    assert ids(find_records(rows, query('contains(record_id, "d-1")', page=-3), 3)) == ["id-1", "id-10", "id-11"]
    bounded = find_records(rows, query("sharpness >= 5", "metric_sharpness <= 8", sort="metric_sharpness"), 50)
    assert [row["metric_sharpness"] for row in bounded.rows] == sorted(
        v for v in VALUES[[i for i in range(24) if i % 10 not in (3, 7)]] if 5 <= v <= 8
    )
    assert [(one.label, one.before) for one in bounded.criteria] == [
        ("status is ok", 24),
        ("sharpness >= 5", 19),
        ("metric_sharpness <= 8", 19 - bounded.criteria[1].dropped),
    ]


def test_the_page_selects_the_rows_that_the_command_selects(rows, run, tmp_path):
    options = SelectionOptions(where=("sharpness >= 5", 'not contains(record_id, "id-1")'))
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    browser.write_selection("run", options, tmp_path / "selection.parquet")
    written = pq.read_table(tmp_path / "selection.parquet")
    assert written.column("record_id").to_pylist() == ids(find_records(rows, Query(options), 50))
    words = shlex.split(options.to_command([run.storage.root], str(tmp_path / "same.parquet")))
    assert words[0] == "joyvasa"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.output
    assert pq.read_table(tmp_path / "same.parquet").equals(written)


def test_an_unknown_column_is_an_error_with_similar_names(rows):
    with pytest.raises(InputError, match="did you mean sharpness"):
        find_records(rows, query("sharpnes > 1"), 10)


def test_sliders_have_the_range_of_the_values(rows):
    (slider,) = build_sliders(rows)
    values = [v for i, v in enumerate(VALUES[:24]) if i % 10 not in (3, 7)]
    assert (slider.column, slider.title, slider.low, slider.high) == (
        "metric_sharpness",
        "Sharpness",
        min(values),
        max(values),
    )
    assert slider.better == "higher"
    assert max(slider.heights) == 1


def test_columns_that_are_not_sortable_are_ignored(rows):
    assert ids(find_records(rows, Query(sort="error"), 3)) == ["id-0", "id-1", "id-2"]
    assert {"record_id", "metric_sharpness", "duration_s"} <= set(list_sort_columns(rows))


def test_failures_are_grouped_by_code_with_advice(rows):
    groups = collect_failures(rows)
    assert [(group.code, group.status, group.count) for group in groups] == [
        ("face_not_found", "failed", 3),
        ("worker_died", "quarantined", 2),
    ]
    assert groups[0].examples[0]["record_id"] == "id-3"
    assert list_codes(rows) == ["face_not_found", "worker_died", "crop_outside", "several_faces"]
    text = render_template("failures", failures=explain_failures(groups, "run"))
    assert "--retry failed" in text
    assert "no face found" in text


def test_new_outcomes_of_an_active_run_appear(rows, run):
    run.save_outcomes(
        3, [RecordOutcome(record_id="id-24", status="failed", stage="render", error_code="odd", error="why")]
    )
    rows.refresh()
    assert ids(find_records(rows, query(status="failed"), 10))[-1] == "id-24"
    assert rows.statuses["failed"] == 4
    run.save_outcomes(
        3, [RecordOutcome(record_id="id-25", status="failed", stage="render", error_code="odd", error="why")]
    )
    rows.refresh()
    assert find_records(rows, query('error_code == "odd"', status="failed"), 10).total == 2


def test_a_shard_that_is_run_again_is_read_again(rows, run):
    run.reopen_shard(0, {"failed"})
    rows.refresh()
    assert find_records(rows, query(status="failed"), 10).total == 2
    assert find_records(rows, query(status=""), 10).total == 23


def test_a_damaged_shard_is_an_error(rows, run):
    run.storage.path(run.records_path(1)).write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="restore it"):
        find_records(rows, query("sharpness > 3"), 10)


def test_a_table_outside_of_the_root_is_not_read(rows, run, tmp_path):
    path = run.storage.path(run.records_path(1))
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        find_records(rows, query(status=""), 30)


def test_the_cache_of_columns_is_limited(run, tmp_path):
    cache = ByteCache(300)
    rows = RunRows(open_run(RunsRoot(str(tmp_path / "root")), "run"), cache)
    rows.refresh()
    assert find_records(rows, query(sort="metric_sharpness"), 50).total == 19
    assert 0 < cache.n_bytes == sum(array.nbytes for array, _ in cache._values.values()) <= 300


@pytest.mark.parametrize(
    ("age_s", "error", "activity"),
    [
        (1.0, ..., "running"),
        (SILENCE_S + 10, ..., "silent"),
        (1.0, "disk_full: no space", "stopped"),
        (1.0, None, "stopped"),
    ],
)
def test_the_activity_of_a_run_is_shown(run, rows, tmp_path, age_s, error, activity):
    with EventLog(run.storage) as log:
        log.write("run_started", stage=None)
        progress = {**statistics(busy_s=10), "records": N, "ok": 10, "elapsed_s": 100.0}
        progress["estimate"] = asdict(Estimate(60.0, False, "render"))
        log.write("progress", **progress) if error is ... else log.write("run_ended", **{**progress, "error": error})
    last = json.loads(run.storage.read("events.jsonl").splitlines()[-1])
    time = datetime.fromisoformat(last["time"]).timestamp()
    state = read_run_state(rows._folder, run.read_description(), run.read_manifest(), rows, now=time + age_s)
    assert (state.activity.kind, state.records, state.pending) == (activity, N, 6)
    passed = [(name, stage.records + stage.shared) for name, stage in state.stages.items()]
    assert (passed, state.stage_records) == ([("motion", 10), ("render", 10)], N)
    estimate = state.activity.estimate
    assert (estimate is not None and estimate.left_s is not None) == (activity == "running")
    text = render_template("state", run=state)
    assert activity in text
    assert error in (None, ...) or error in text


def test_a_finished_run_is_shown_as_finished(tmp_path):
    rows = [{"record_id": "id-1", "image": "a", "audio": "b"}]
    write_run(tmp_path / "root/run", rows, ok_outcome, manifests=tmp_path)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    assert browser.list_paths() == ["run"]
    assert "finished" in browser.render_state(browser.open("run"))


def test_only_videos_below_the_root_are_shown(run, tmp_path):
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits(gallery=100))
    shown = browser.render_records(browser.open("run"), Query(), table=False).html
    assert shown.count("<video ") == 19
    assert 'src="/files/run/shards/00000/videos/id-0.mp4"' in shown
    for path in (tmp_path / "root/run/shards/00000/videos").iterdir():
        path.unlink()
        path.symlink_to(tmp_path / "pairs.jsonl")
    shown = browser.render_records(browser.open("run"), Query(), table=False).html
    assert "shards/00000/videos" not in shown


def test_evaluated_videos_below_the_root_are_shown(tmp_path):
    (tmp_path / "root/in").mkdir(parents=True)
    for path in ("root/in/a.mp4", "b.mp4"):
        (tmp_path / path).write_bytes(b"video")
    rows = [{"record_id": f"id-{n}", "video": v} for n, v in enumerate(["in/a.mp4", "../b.mp4", "s3://x/c.mp4"])]
    write_run(tmp_path / "root/run", rows, lambda r: ok_outcome(r), manifests=tmp_path / "root", name="Hallo")
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    shown = browser.render_records(browser.open("run"), Query(), table=False).html
    assert 'src="/files/in/a.mp4"' in shown
    assert shown.count("<video ") == 1
    assert shown.count("outside of the folder") == 2


def test_texts_of_a_run_are_escaped(tmp_path):
    rows = [{"record_id": HOSTILE, "image": "a", "audio": "b"}]
    write_run(tmp_path / "root/run", rows, lambda r: failed_outcome(r, HOSTILE, HOSTILE), manifests=tmp_path)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    run = browser.open("run")
    for table in (False, True):
        shown = browser.render_records(run, query(status=""), Marks(ticks=(HOSTILE,)), table=table).html
        assert "<img" not in shown
        assert " checked" in shown
    assert "<img" not in browser.render_failures(run)


def test_a_report_is_shown_or_the_command_that_writes_it(run, tmp_path):
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    assert "joyvasa report" in browser.render_report(browser.open("run"))
    run.storage.write("report/index.html", b"report")
    assert 'src="/files/run/report/index.html" sandbox="allow-scripts"' in browser.render_report(browser.open("run"))


@pytest.mark.parametrize("path", ["../x", "/etc", "nothing", "run/shards", "\0"])
def test_a_path_that_is_no_run_is_an_error(run, tmp_path, path):
    with pytest.raises(ManifestError, match="no run of this name"):
        RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits()).open(path)


def test_a_root_may_be_a_run(run, tmp_path):
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root/run")), Limits())
    assert browser.list_paths() == ["."]
    assert 'src="/files/shards/' in browser.render_records(browser.open("."), Query(), table=False).html
    assert ConfinedStorage(RunsRoot(str(tmp_path / "root/run")), ".").exists("run.yaml")


def test_records_are_shown_whatever_their_passed_through_columns_hold(tmp_path):
    rows = write_odd_table(tmp_path / "m.parquet")
    write_run(tmp_path / "root/run", rows, ok_outcome, manifests=tmp_path)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    for table in (True, False):
        assert "r1" in browser.render_records(browser.open("run"), Query(), table=table).html


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (r'latin == "caf\\xe9"', ["r0"]),
        (r'contains(latin, "\\xe9")', ["r0"]),
        ("nan is null", ["r0"]),
        ("nan > 3", ["r1"]),
        ('view == "a"', ["r0"]),
        ("price < 2", ["r0"]),
        ('year_0 < "2026-01-31"', ["r0"]),
        ("zone is null", ["r1"]),
        ("nested is not null", ["r0"]),
    ],
)
def test_conditions_hold_whatever_passed_through_columns_hold(tmp_path, condition, found):
    rows = write_odd_table(tmp_path / "m.parquet")
    write_run(tmp_path / "root/run", rows, ok_outcome, manifests=tmp_path)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    page = find_records(browser.open("run").rows, Query(SelectionOptions(where=(condition,))), 10)
    assert [row["record_id"] for row in page.rows] == found


def test_scored_videos_are_shown_after_the_run_moved_together_with_them(tmp_path):
    project = tmp_path / "root/project"
    rows = write(project / "m.csv", [{"record_id": "r0", "video": "v.mp4"}])
    (project / "v.mp4").write_bytes(b"video")
    write_run(project / "run", rows, lambda record: ok_outcome(record), manifests=tmp_path, name="other system")
    project.rename(tmp_path / "root/elsewhere")
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    assert "elsewhere/v.mp4" in browser.render_records(browser.open("elsewhere/run"), Query(), table=False).html


def test_infinite_numbers_are_shown(tmp_path):
    rows = [{"record_id": f"id-{number}", "image": "a", "audio": "b"} for number in range(2)]
    write_run(tmp_path / "root/run", rows, lambda r: ok_outcome(r, sharpness=float("inf") ** r.row), manifests=tmp_path)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    for table in (True, False):
        assert ">inf<" in browser.render_records(browser.open("run"), Query(), table=table).html


def test_records_of_another_run_do_not_stay_if_the_chosen_one_has_none_to_show(run, tmp_path):
    other = [{"record_id": "other", "image": "a", "audio": "b", "voice": "anna"}]
    write_run(tmp_path / "root/other", other, ok_outcome, manifests=tmp_path)
    (tmp_path / "root/damaged").mkdir()
    (tmp_path / "root/damaged/run.yaml").write_text("nonsense: [")
    page, shown = RunsPage(RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())), {}

    def show(path, condition):
        nonlocal shown
        inputs = (path, condition, "", "ok", "", "", False, GALLERY, False, 0, Marks(path), shown)
        *values, shown = page._show(inputs, 0, turn=False)
        return dict(zip(PARTS, values, strict=True))

    assert "other" in show("other", 'voice == "anna"')["records"]
    parts = show("run", 'voice == "anna"')
    assert (parts["records"], parts["position"]) == ("", "")
    assert "column_unknown" in parts["selection"]
    assert "id-0" in show("run", "")["records"]
    parts = show("damaged", "")
    assert "run_unreadable" in parts["state"]
    assert {parts[name] for name in CONTENTS} == {""}


def test_records_of_a_table_without_some_columns_are_shown(run, tmp_path):
    for file in (tmp_path / "root/run/shards").glob("*/records.parquet"):
        pq.write_table(pq.read_table(file).drop_columns(["warnings", "duration_s"]), file)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    for table in (True, False):
        assert "id-1" in browser.render_records(browser.open("run"), query(), table=table).html
