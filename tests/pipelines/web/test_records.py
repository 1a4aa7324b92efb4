"""Records are found by page, filtered and sorted, while the run goes on, too."""

import json
from datetime import datetime

import numpy as np
import pytest

from joyvasa.errors import InputError
from manifests.errors import ManifestError
from manifests.run.events import EventLog
from manifests.run.outcome import RecordOutcome
from pipelines.report.failures import failure_figures
from pipelines.web.confined import ConfinedStorage, Root
from pipelines.web.limits import Limits
from pipelines.web.records import Query, codes, failures, find_records, sort_columns
from pipelines.web.render import render
from pipelines.web.run_list import open_run
from pipelines.web.run_parts import ColumnCache, RunParts
from pipelines.web.run_state import SILENCE_S, run_state
from pipelines.web.runs_browser import RunsBrowser
from tests.pipelines.report.runs import bad, good, made_run, statistics

N = 30
VALUES = np.random.default_rng(0).permutation(N).astype(float)
HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{ 7*7 }} {{#each value}}"


def outcome(record):
    number = int(record.id.split("-")[1])
    if number % 10 == 3:
        return bad(record, "face_not_found")
    if number % 10 == 7:
        return bad(record, "worker_died", "it killed its worker", "quarantined")
    made = good(record, video=f"shards/{number // 8:05d}/videos/{record.id}.mp4", sharpness=VALUES[number])
    return (
        RecordOutcome(**{**made.as_dict(), "warnings": "two faces", "warning_codes": "several_faces,crop_outside"})
        if number % 2
        else made
    )


@pytest.fixture
def run(tmp_path):
    rows = [{"record_id": f"id-{number}", "image": "a.jpg", "audio": "a.wav"} for number in range(N)]
    parts = [{**statistics(busy_s=10), "records": N, "ok": 10, "elapsed_s": 100.0, "error": None}]
    return made_run(tmp_path / "root/run", rows, outcome, manifests=tmp_path, video=b"video", shards=3, parts=parts)


@pytest.fixture
def parts(run, tmp_path):
    folder = open_run(Root(str(tmp_path / "root")), "run")
    found = RunParts(folder, ColumnCache(10_000_000))
    found.refresh()
    return found


def ids(page):
    return [row["record_id"] for row in page.rows]


def test_pages_are_in_the_order_of_the_manifest(parts):
    first, last = (find_records(parts, Query(page=number), 10) for number in (0, 99))
    assert ids(first) == [f"id-{number}" for number in range(10)]
    assert (first.total, first.pages) == (24, 3)
    assert (last.number, ids(last)) == (2, [f"id-{number}" for number in range(20, 24)])


@pytest.mark.parametrize("descending", [False, True])
def test_records_without_a_value_come_last(parts, descending):
    page = find_records(parts, Query(sort="metric_sharpness", descending=descending), 100)
    values = [row["metric_sharpness"] for row in page.rows]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=descending)
    assert values[len(known) :] == [None] * 5
    assert len(known) == 19


def test_records_are_filtered(parts):
    assert ids(find_records(parts, Query(status="failed"), 10)) == ["id-3", "id-13", "id-23"]
    assert ids(find_records(parts, Query(code="worker_died"), 10)) == ["id-7", "id-17"]
    assert find_records(parts, Query(code="crop_outside"), 10).total == 7
    assert ids(find_records(parts, Query(text="D-1", status="ok", page=-3), 3)) == ["id-1", "id-10", "id-11"]
    assert find_records(parts, Query(text=".*"), 10).total == 0
    bounded = find_records(parts, Query(sort="metric_sharpness", low=5, high=8), 50)
    assert [row["metric_sharpness"] for row in bounded.rows] == sorted(
        v for v in VALUES[[i for i in range(24) if i % 10 not in (3, 7)]] if 5 <= v <= 8
    )


def test_what_nobody_offers_to_sort_by_is_ignored(parts):
    assert ids(find_records(parts, Query(sort="error", low=3.0), 3)) == ["id-0", "id-1", "id-2"]
    assert {"record_id", "metric_sharpness", "duration_s"} <= set(sort_columns(parts))


def test_failures_are_told_by_code_with_advice(parts):
    groups = failures(parts)
    assert [(group.code, group.status, group.count) for group in groups] == [
        ("face_not_found", "failed", 3),
        ("worker_died", "quarantined", 2),
    ]
    assert groups[0].examples[0]["record_id"] == "id-3"
    assert codes(parts) == ["face_not_found", "worker_died", "crop_outside", "several_faces"]
    text = render("failures", failures=failure_figures(groups, "run"))
    assert "--retry failed" in text
    assert "no face found" in text


def test_a_run_that_goes_on_shows_more(parts, run):
    run.save_outcomes(3, [RecordOutcome(record_id="id-24", status="failed", stage="render", error_code="odd", error="why")])
    parts.refresh()
    assert ids(find_records(parts, Query(status="failed"), 10))[-1] == "id-24"
    assert parts.statuses["failed"] == 4
    run.save_outcomes(3, [RecordOutcome(record_id="id-25", status="failed", stage="render", error_code="odd", error="why")])
    parts.refresh()
    assert find_records(parts, Query(code="odd"), 10).total == 2


def test_a_shard_that_is_run_again_is_read_again(parts, run):
    run.reopen_shard(0, {"failed"})
    parts.refresh()
    assert find_records(parts, Query(status="failed"), 10).total == 2
    assert find_records(parts, Query(), 10).total == 23


def test_a_damaged_shard_is_told(parts, run):
    run.storage.path(run.records_path(1)).write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="restore it"):
        find_records(parts, Query(status="ok"), 10)


def test_a_table_that_lies_elsewhere_is_not_read(parts, run, tmp_path):
    path = run.storage.path(run.records_path(1))
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        find_records(parts, Query(), 30)


def test_columns_are_kept_up_to_a_number_of_bytes(run, tmp_path):
    cache = ColumnCache(300)
    parts = RunParts(open_run(Root(str(tmp_path / "root")), "run"), cache)
    parts.refresh()
    assert find_records(parts, Query(sort="metric_sharpness", status="ok"), 50).total == 19
    assert sum(array.nbytes for array in cache._arrays.values()) <= 300


@pytest.mark.parametrize(
    ("age_s", "error", "word"),
    [
        (1.0, ..., "running"),
        (SILENCE_S + 10, ..., "silent"),
        (1.0, "disk_full: no space", "stopped"),
        (1.0, None, "stopped"),
    ],
)
def test_a_run_says_how_it_fares(run, parts, tmp_path, age_s, error, word):
    with EventLog(run.storage) as log:
        log.write("run_started", stage=None)
        note = {**statistics(busy_s=10), "records": N, "ok": 10, "elapsed_s": 100.0}
        log.write("progress", **note) if error is ... else log.write("run_ended", **{**note, "error": error})
    last = json.loads(run.storage.read("events.jsonl").splitlines()[-1])
    time = datetime.fromisoformat(last["time"]).timestamp()
    state = run_state(parts._folder, run.read_description(), run.read_manifest(), parts, now=time + age_s)
    assert (state.word, state.records, state.pending) == (word, N, 6)
    assert [(stage.name, stage.done, stage.total) for stage in state.stages] == [("motion", 10, N), ("render", 10, N)]
    assert (state.left_s is not None) == (word == "running")
    text = render("state", run=state)
    assert word in text
    assert error in (None, ...) or error in text


def test_a_finished_run_says_so(tmp_path):
    made_run(tmp_path / "root/run", [{"record_id": "id-1", "image": "a", "audio": "b"}], good, manifests=tmp_path)
    browser = RunsBrowser(Root(str(tmp_path / "root")), Limits())
    assert browser.paths() == ["run"]
    assert "finished" in browser.state(browser.open("run"))


def test_videos_are_those_below_the_root(run, tmp_path):
    browser = RunsBrowser(Root(str(tmp_path / "root")), Limits(gallery=100))
    shown = browser.records(browser.open("run"), Query(), table=False).html
    assert shown.count("<video ") == 19
    assert 'src="/files/run/shards/00000/videos/id-0.mp4#t=0.1"' in shown
    for path in (tmp_path / "root/run/shards/00000/videos").iterdir():
        path.unlink()
        path.symlink_to(tmp_path / "pairs.jsonl")
    shown = browser.records(browser.open("run"), Query(), table=False).html
    assert "shards/00000/videos" not in shown


def test_measured_videos_are_shown_where_they_lie_below_the_root(tmp_path):
    (tmp_path / "root/in").mkdir(parents=True)
    for path in ("root/in/a.mp4", "b.mp4"):
        (tmp_path / path).write_bytes(b"video")
    rows = [{"record_id": f"id-{n}", "video": v} for n, v in enumerate(["in/a.mp4", "../b.mp4", "s3://x/c.mp4"])]
    made_run(tmp_path / "root/run", rows, lambda r: good(r), manifests=tmp_path / "root", name="Hallo")
    browser = RunsBrowser(Root(str(tmp_path / "root")), Limits())
    shown = browser.records(browser.open("run"), Query(), table=False).html
    assert 'src="/files/in/a.mp4#t=0.1"' in shown
    assert shown.count("<video ") == 1
    assert shown.count("not below the root") == 2


def test_texts_of_a_run_are_no_markup(tmp_path):
    rows = [{"record_id": HOSTILE, "image": "a", "audio": "b"}]
    made_run(tmp_path / "root/run", rows, lambda r: bad(r, HOSTILE, HOSTILE), manifests=tmp_path)
    browser = RunsBrowser(Root(str(tmp_path / "root")), Limits())
    run = browser.open("run")
    for table in (False, True):
        assert "<img" not in browser.records(run, Query(), table=table).html
    assert "<img" not in browser.failures(run)


def test_a_report_is_shown_or_the_command_that_writes_it(run, tmp_path):
    browser = RunsBrowser(Root(str(tmp_path / "root")), Limits())
    assert "joyvasa report" in browser.report(browser.open("run"))
    run.storage.write("report/index.html", b"report")
    assert 'src="/files/run/report/index.html" sandbox="allow-scripts"' in browser.report(browser.open("run"))


@pytest.mark.parametrize("path", ["../x", "/etc", "nothing", "run/shards", "\0"])
def test_what_is_no_run_is_told(run, tmp_path, path):
    with pytest.raises(ManifestError, match="no run of this name"):
        RunsBrowser(Root(str(tmp_path / "root")), Limits()).open(path)


def test_a_root_may_be_a_run(run, tmp_path):
    browser = RunsBrowser(Root(str(tmp_path / "root/run")), Limits())
    assert browser.paths() == ["."]
    assert 'src="/files/shards/' in browser.records(browser.open("."), Query(), table=False).html
    assert ConfinedStorage(Root(str(tmp_path / "root/run")), ".").exists("run.yaml")
