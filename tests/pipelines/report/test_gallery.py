"""Verdict, gallery and thresholds: the page counts as `joyvasa select` does."""

import base64
import gzip
import json
import shlex
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from manifests.expressions import NamedColumns, parse_condition
from manifests.record import file_stem
from pipelines.cli.main import app
from pipelines.report import failures, gallery
from pipelines.report.failures import FailureGroup
from pipelines.report.gallery import VideoLinks, encode_gallery
from pipelines.report.metrics import MetricFigures, all_metric_columns
from pipelines.report.page import render_page
from pipelines.report.report import build_report
from pipelines.report.statistics import Bootstrap
from pipelines.report.verdict import Verdict, load_checks
from tests.manifests.tables import write_odd_table
from tests.media import NOISE_FRAMES, write_video
from tests.pipelines.report.browser import chromium
from tests.pipelines.report.run_folders import MISSING, failed_outcome, ok_outcome, write_run

N = 70
SHARPNESS = np.random.default_rng(3).uniform(10, 100, N)
CORRELATION = np.random.default_rng(4).uniform(0, 0.6, N)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 70 records: every tenth failed, every seventh has no sharpness."""
    folder = tmp_path_factory.mktemp("run")
    video = write_video(folder / "v.mp4", NOISE_FRAMES)

    def outcome(record):
        k = record.row - 1
        if k % 10 == 9:
            return failed_outcome(record)
        path = f"shards/{record.shard:05d}/videos/{file_stem(record.id)}.mp4"
        sharpness = None if k % 7 == 6 else float(SHARPNESS[k])
        return ok_outcome(
            record, video=path, sharpness=sharpness, mouth_sound_correlation=float(CORRELATION[k]), frozen_share=0.0
        )

    rows = [
        {"record_id": f"clip {k:02d}", "image": "p.png", "audio": "s.wav", "the voice": f"v'{k % 3}"} for k in range(N)
    ]
    write_run(folder / "run", rows, outcome, manifests=folder, video=video.read_bytes())
    return str(folder / "run")


@pytest.fixture(scope="module")
def report(run):
    with pytest.MonkeyPatch.context() as patch:
        for module in ("report", "records"):  # contact sheets of a few records, not of all
            patch.setattr(f"pipelines.report.{module}.MAX_SHEETS", 3)
        return build_report(run)


def expected_kept():
    kept = []
    for k in range(N):
        good = k % 10 != 9 and k % 7 != 6 and SHARPNESS[k] >= 30 and CORRELATION[k] >= 0.2
        kept += [k] if good else []
    return kept


def decode(text):
    content = gzip.decompress(base64.b64decode(text))
    size = struct.unpack("<I", content[:4])[0]
    return json.loads(content[4 : 4 + size]), content[4 + size :]


def test_the_verdict_counts_usable_videos_and_names_the_most_common_problems(report):
    verdict = report.verdict
    assert (verdict.records, verdict.videos, verdict.usable) == (N, 63, len(expected_kept()))
    assert [column.name for column in verdict.skipped] == []
    good = [k for k in range(N) if k % 10 != 9]
    counts = {
        "no video: face_not_found": 7,
        "the mouth does not follow the sound": sum(CORRELATION[k] < 0.2 for k in good),
        "the face is blurred": sum(k % 7 != 6 and SHARPNESS[k] < 30 for k in good),
        "no number of Sharpness": sum(k % 7 == 6 for k in good),
    }
    expected = sorted(counts.items(), key=lambda item: -item[1])[:3]
    assert [(problem.text, problem.count) for problem in verdict.problems] == expected
    assert all(problem.examples for problem in verdict.problems)


def test_a_video_without_a_number_is_not_said_to_have_the_problem_of_the_check(tmp_path):
    numbers = {"a": 5.0, "b": 1.0, "c": None, "d": None}
    rows = [{"record_id": name, "image": "a.png", "audio": "a.wav"} for name in numbers]
    write_run(tmp_path / "run", rows, lambda record: ok_outcome(record, sync_c=numbers[record.id]), manifests=tmp_path)
    verdict = build_report(str(tmp_path / "run")).verdict
    assert verdict.usable == 1
    assert [(problem.text, [name for _, name in problem.examples]) for problem in verdict.problems] == [
        ("no number of Sync-C", ["c", "d"]),
        ("lips do not follow the sound", ["b"]),
    ]
    assert verdict.problems[0].advice == f"most frequent reason: {MISSING}"


def test_every_check_names_a_metric_and_its_reason():
    columns = all_metric_columns()
    checks = load_checks()
    assert len(checks) >= 4
    for check in checks:
        assert check.metric in columns
        assert not check.unless or check.unless in columns
        assert check.sign in (">=", "<=")
        assert (check.sign == ">=") == (columns[check.metric].better == "higher")
        assert all([check.problem, check.advice, check.reason])


def test_small_runs_have_exact_numbers(report):
    header, arrays = decode(report.gallery.text)
    assert header["exact"]
    names = [metric["name"] for metric in header["metrics"]]
    values = np.frombuffer(arrays, "<f8", N, 8 * N * names.index("mouth_sound_correlation"))
    good = [k for k in range(N) if k % 10 != 9]
    assert np.array_equal(values[good], CORRELATION[good])
    assert np.isnan(values[9])


def test_the_condition_of_each_group_selects_its_rows_whatever_the_column_holds(tmp_path):
    rows = write_odd_table(tmp_path / "m.parquet")
    write_run(tmp_path / "run", rows, lambda record: ok_outcome(record, sharpness=1.0), manifests=tmp_path)
    table = pq.read_table(tmp_path / "run/shards/00000/records.parquet")
    header, arrays = decode(build_report(str(tmp_path / "run")).gallery.text)
    codes = np.frombuffer(arrays, np.uint8)[-2 * len(header["groups"]) :].reshape(-1, 2)
    selected = {}
    for group, row_codes in zip(header["groups"], codes, strict=True):
        for code, condition in enumerate(group["conditions"]):
            if condition:
                mask = parse_condition(condition, NamedColumns(table.schema)).evaluate(table).fill_null(False)
                assert mask.to_pylist() == (row_codes == code).tolist(), condition
                selected[group["name"]] = condition
    assert {"latin", "nan", "view", "speaker"} <= selected.keys()


def test_the_condition_of_a_group_selects_32_bit_numbers(tmp_path):
    table = pa.table(
        {
            "record_id": [*"abcd"],
            "image": ["a.png"] * 4,
            "audio": ["a.wav"] * 4,
            "noise": pa.array([0.1, 1e20, 0.1, 3], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    write_run(tmp_path / "run", tmp_path / "m.parquet", ok_outcome, manifests=tmp_path)
    groups = decode(build_report(str(tmp_path / "run")).gallery.text)[0]["groups"]
    group = next(group for group in groups if group["name"] == "noise")
    masks = [
        parse_condition(text, NamedColumns(table.schema)).evaluate(table).to_pylist() for text in group["conditions"]
    ]
    assert group["values"] == ["0.1", "1e+20", "3"]
    assert masks == [[True, False, True, False], [False, True, False, False], [False, False, False, True]]


def make_figures(values):
    column = all_metric_columns()["sharpness"]
    return MetricFigures(column, Bootstrap().summarize(values), len(values), [])


def test_large_runs_have_three_digits_and_leave_out_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(gallery, "EXACT_ROWS", 10)
    values = np.random.default_rng(0).gamma(2.0, 1e6, 1000)
    values[3] = np.nan
    ids = pa.chunked_array([[f"c{k}" for k in range(1000)]])
    links, verdict = VideoLinks(None, np.zeros(1000, np.int32)), Verdict(1000, 1000, 1000, [], [], [])
    arguments = (ids, {"sharpness": values}, [make_figures(values)], [], {}, links, verdict, "joyvasa select run")
    data = encode_gallery(*arguments)
    header, arrays = decode(data.text)
    planes = np.frombuffer(arrays, np.uint8).reshape(2, 1000)
    halves = (planes[0].astype(np.uint16) << 8 | planes[1]).view(np.float16).astype(float)
    assert not data.exact
    large = np.abs(values) > 1e-3 * np.nanmax(values)
    assert np.allclose((halves * header["metrics"][0]["scale"])[large], values[large], rtol=1e-3)

    monkeypatch.setattr(gallery, "MAX_BYTES", 3000)
    smaller = encode_gallery(*arguments)
    assert [column.name for column in smaller.omitted] == ["sharpness"]


def test_paths_of_the_page_do_not_name_the_home_folder(monkeypatch):
    monkeypatch.setattr(failures.Path, "home", lambda: Path("/home/anna"))
    assert failures.shorten_home("needs /home/anna/w.pth") == "needs ~/w.pth"
    assert failures.quote_path("/home/anna/my run") == "~/'my run'"
    assert failures.quote_path("/data/run") == "/data/run"
    for path in ("/mnt/home/anna/run", "/data/a /home/anna/b"):
        assert shlex.split(failures.quote_path(path)) == [path]
    text = "/mnt/home/anna/w.pth (from '/home/anna/w.pth', file:///home/anna/w.pth)"
    assert failures.shorten_home(text) == "/mnt/home/anna/w.pth (from '~/w.pth', file://~/w.pth)"


def test_the_command_of_each_group_of_failures_is_complete(monkeypatch):
    groups = [FailureGroup("face_not_found", "failed", "portrait", 2, []), FailureGroup("other", "", "", 9, [])]
    commands = [figure.command for figure in failures.explain_failures(groups, "/data/run")]
    assert commands == [
        "joyvasa resume /data/run --retry failed",
        "joyvasa resume /data/run --retry failed --retry quarantined",
    ]


def test_commands_of_the_page_work_in_any_folder(run, monkeypatch):
    monkeypatch.chdir(Path(run).parent)
    report = build_report(Path(run).name)
    commands = [*(failure.command for failure in report.failures), decode(report.gallery.text)[0]["command"]]
    assert {Path(shlex.split(command)[2]).expanduser() for command in commands} == {Path(run)}


def test_a_column_of_the_manifest_with_the_name_of_a_metric_is_not_taken_for_it(tmp_path):
    rows = [{"record_id": f"r{k}", "image": "p.png", "audio": "s.wav", "sharpness": 99 - k} for k in range(20)]
    write_run(
        tmp_path / "run", rows, lambda record: ok_outcome(record, sharpness=float(record.row)), manifests=tmp_path
    )
    (metric,) = decode(build_report(str(tmp_path / "run")).gallery.text)[0]["metrics"]
    condition = f"{metric['reference']} >= 15"
    result = CliRunner().invoke(app, ["select", str(tmp_path / "run"), "--where", condition, "--json"])
    assert json.loads(result.stdout)["selected"] == 6


def test_in_a_browser_an_added_threshold_keeps_all_and_a_chosen_record_is_shown_whatever_is_searched(tmp_path):
    n = 1500
    values = np.random.default_rng(0).uniform(10, 100, n)
    values[[3, 7]] = 1.0, 1e4  # beyond the thousandths that sliders leave out
    rows = [{"record_id": f"r{k}", "image": "p.png", "audio": "s.wav"} for k in range(n)]

    def outcome(record):
        return ok_outcome(record, duration_match=float(values[record.row - 1]))

    write_run(tmp_path / "run", rows, outcome, manifests=tmp_path, shard_size=n)
    page = tmp_path / "index.html"
    page.write_bytes(render_page(build_report(str(tmp_path / "run"))))
    update = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    kept = "document.querySelector('[data-part=kept]').textContent"
    (tmp_path / "profile").mkdir()
    with chromium(tmp_path / "profile") as browser:
        browser.open(page)
        browser.evaluate("ready.then(gallery => { window.gallery = gallery; })")
        for sign in (">=", "<="):
            browser.evaluate(f"gallery.addSlider('duration_match', '{sign}', null), gallery.update()")
        assert browser.evaluate(kept) == f"keeps {n:,} of {n:,}"
        for number, end in ((0, 0), (1, 1000)):
            bar = f"document.querySelectorAll('.slider input[type=range]')[{number}]"
            for position in (500, end):
                change = f"bar.value = {position}; bar.dispatchEvent(new Event('input', {{bubbles: true}}))"
                browser.evaluate(f"(() => {{ const bar = {bar}; {change}; return {update}; }})()")
        assert browser.evaluate(kept) == f"keeps {n:,} of {n:,}"

        search = "document.querySelector('[data-part=search]')"
        browser.evaluate(f"{search}.value = 'r2'; gallery.showOnly(1)")
        names = "[...document.querySelectorAll('.record .name bdi')].map(name => name.textContent)"
        assert browser.evaluate(names) == ["r1"]


def test_a_browser_filters_sorts_and_counts_as_the_command_does(report, run, tmp_path):
    def text(part):
        return browser.evaluate(f"document.querySelector('[data-part=\"{part}\"]').textContent")

    def choose(selector, value):
        browser.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {bubbles: true}));"
            "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))); })()"
        )

    names = "[...document.querySelectorAll('.record .name bdi')].map(name => name.textContent)"
    page = Path(run, "report", "index.html")
    page.parent.mkdir()
    page.write_bytes(render_page(report))
    with chromium(tmp_path) as browser:
        browser.open(page)
        browser.evaluate("ready.then(() => 1)")
        assert text("kept") == f"keeps {len(expected_kept())} of {N}"
        assert len(browser.evaluate(names)) == 60
        assert text("range") == f"1–60 of {N} shown"
        browser.click('[data-part="next"]')
        assert browser.evaluate(names) == [f"clip {k}" for k in range(60, N)]

        choose('[data-part="show"]', "kept")
        assert browser.evaluate(names) == [f"clip {k:02d}" for k in expected_kept()]
        choose('[data-part="sort"]', "-1 sharpness")
        best = sorted(expected_kept(), key=lambda k: -SHARPNESS[k])
        assert browser.evaluate(names) == [f"clip {k:02d}" for k in best]

        choose('.slider input[type="number"]', "0.31")
        choose('[data-group="2"]', "1")  # `the voice`
        browser.evaluate("document.querySelector('.thresholds').open = true")
        kept = int(text("kept").split()[1])
        command = shlex.split(text("command"))
        assert command[:2] == ["joyvasa", "select"]
        result = CliRunner().invoke(app, [*command[1:-2], "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["selected"] == kept > 0

        choose('[data-group="0"]', "1")  # failed records: shown, but not a part of the selection
        assert int(text("kept").split()[1]) == kept
        assert browser.evaluate(names) == []  # none of them is kept
        choose('[data-group="0"]', "")

        browser.evaluate("document.querySelector('.record .frame').scrollIntoView()")
        browser.click(".play")
        playing = browser.evaluate(
            "new Promise(done => { const v = document.querySelector('.frame video[controls]'); "
            "v.readyState ? done(v.videoWidth) : v.addEventListener('loadedmetadata', () => done(v.videoWidth)); })"
        )
        assert playing == NOISE_FRAMES.shape[2]
        browser.click("#verdict [data-row]")
        assert len(browser.evaluate(names)) == 1
        browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert browser.evaluate("getComputedStyle(document.querySelector('nav')).position") == "sticky"
        assert browser.complaints == []
