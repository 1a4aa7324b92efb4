"""The figures of whole reports."""

import dataclasses
import json
import shutil

import fsspec
import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from joyvasa.errors import ConfigError
from manifests.problems import ManifestError
from pipelines.cli.main import app
from pipelines.report.report import build_report, write_report
from pipelines.report.rows import OutcomeRows
from tests.manifests.tables import write, write_odd_table
from tests.pipelines.report.run_folders import failed_outcome, numbers, ok_outcome, write_run

N = 50
SHARPNESS, DRIFT = numbers(N, 1), numbers(N, 2, mean=1.0)


def rows(n=N):
    return [
        {
            "record_id": f"r{k:02d}",
            "image": "p.png",
            "audio": "s.wav",
            "mode": "animal" if k % 5 == 0 else "human",
            "speaker": ("ann", "bob")[k % 2],
            "note": f"unique {k}",
        }
        for k in range(n)
    ]


def outcome(record, *, shift=0.0):
    k = int(record.id[1:])
    if k == 7:
        return failed_outcome(record)
    if k in (8, 9):
        return failed_outcome(record, "worker_died", "it killed its worker", "quarantined")
    metrics = {"sharpness": SHARPNESS[k] + shift, "brightness_drift": DRIFT[k] if k % 2 else None, "smooth": None}
    return ok_outcome(record, **metrics)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder / "ours", rows(), outcome, manifests=folder)
    return str(folder / "ours")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run with 40 of the records, whose sharpness is lower by 0.2, in another order and with another shard size."""
    folder = tmp_path_factory.mktemp("other")
    mixed = [*reversed(rows(40)), {"record_id": "r99", "image": "p.png", "audio": "s.wav"}]

    def theirs(record):
        return failed_outcome(record) if record.id == "r99" else outcome(record, shift=-0.2)

    write_run(folder / "theirs", mixed, theirs, manifests=folder, shard_size=7)
    return str(folder / "theirs")


@pytest.fixture(scope="module")
def report(run):
    return build_report(run)


def figure(report, name):
    return next(figures for figures in report.metrics if figures.column.name == name)


def ok_numbers():
    return np.array([k for k in range(N) if k not in (7, 8, 9)])


def test_means_are_those_of_the_videos(report):
    figures = figure(report, "sharpness")
    assert (figures.summary.n, figures.videos, figures.coverage) == (47, 47, 1.0)
    assert figures.summary.mean == pytest.approx(SHARPNESS[ok_numbers()].mean())
    assert figures.summary.median == pytest.approx(np.median(SHARPNESS[ok_numbers()]))


def test_missing_numbers_are_counted_by_reason(report):
    figures = figure(report, "brightness_drift")
    assert figures.summary.n == 23
    assert [(reason.code, reason.count) for reason in figures.reasons] == [("weights_missing", 24)]
    empty = figure(report, "smooth")
    assert (empty.summary.n, empty.coverage, empty.reasons[0].count) == (0, 0.0, 47)
    assert "smooth" not in report.plots


def test_metrics_are_broken_down_by_mode_and_by_columns_with_few_values(report):
    groups = figure(report, "sharpness").groups
    assert groups.keys() == {"mode", "speaker"}
    animals = [k for k in ok_numbers() if k % 5 == 0]
    by_mode = {group.value: group.summary for group in groups["mode"]}
    assert by_mode["animal"].mean == pytest.approx(SHARPNESS[animals].mean())
    assert by_mode["animal"].n + by_mode["human"].n == 47


def test_the_ends_of_a_metric_are_its_worst_and_best_videos(report):
    for name, values, better in (("sharpness", SHARPNESS, "higher"), ("brightness_drift", DRIFT, "lower")):
        figures = figure(report, name)
        have = [k for k in ok_numbers() if name == "sharpness" or k % 2]
        order = sorted(have, key=lambda k: values[k], reverse=better == "lower")
        worst = [report.views[row_index].record_id for row_index, _ in figures.worst]
        assert worst == [f"r{k:02d}" for k in order[: len(worst)]]
        assert report.views[figures.best[0][0]].record_id == f"r{order[-1]:02d}"
        assert not {row_index for row_index, _ in figures.worst} & {row_index for row_index, _ in figures.best}
    assert len(figure(report, "sharpness").worst) == 20


def test_failures_come_by_code_with_examples_and_advice(report):
    by_code = {failure.group.code: failure for failure in report.failures}
    assert {code: failure.group.count for code, failure in by_code.items()} == {"worker_died": 2, "face_not_found": 1}
    assert by_code["worker_died"].command.endswith("--retry quarantined")
    assert by_code["face_not_found"].group.examples[0]["record_id"] == "r07"
    assert "picture" in by_code["face_not_found"].advice


def test_pairs_are_matched_by_id_whatever_their_order(run, other):
    (comparison,) = build_report(run, [other]).comparisons
    assert comparison.shared == 40
    pair = next(pair for pair in comparison.pairs if pair.column.name == "sharpness")
    assert pair.difference.n == 37  # three of the forty have no video
    assert pair.difference.mean == pytest.approx(0.2)
    assert pair.difference.low == pytest.approx(0.2)
    assert (pair.ours_better, pair.verdict) == (1.0, "better")
    same = next(pair for pair in comparison.pairs if pair.column.name == "brightness_drift")
    assert (same.difference.mean, same.verdict) == (pytest.approx(0.0), "no clear difference")


def test_a_run_beside_itself_does_not_differ(run):
    report = build_report(run, [run])
    assert report.run_names == ["ours", "ours (2)"]
    assert all(pair.difference.mean in (0.0, None) for pair in report.comparisons[0].pairs)


def test_more_runs_than_colours_are_refused(run):
    with pytest.raises(ConfigError, match="config_invalid: 6 runs"):
        build_report(run, [run] * 6)


def test_the_paper_stands_beside_the_run_in_its_units(run, tmp_path):
    scores = {"iqa": 0.71, "sync_d": 7.0, "sync_d_mean": 13.9}
    write_run(tmp_path / "run", rows(3), lambda record: ok_outcome(record, **scores), manifests=tmp_path)
    table = build_report(str(tmp_path / "run")).published[0]
    ours = dict(zip([column["title"] for column in table.columns], table.ours["run"], strict=True))
    assert (ours["IQA"], ours["Sync-D"], ours["VQA"]) == (pytest.approx(71.0), pytest.approx(13.9), None)
    published = {row["name"]: row["values"] for row in table.rows}
    assert published["JoyVASA"] == [68.97, 72.42, 4.85, 13.53, 459.04, 99.60]
    assert "protocol not fully known" in table.note


def test_tables_hold_the_figures_of_the_page(run, other):
    files = write_report(run, [other])
    table = pq.read_table(files.parquet)
    rows_by_key = {(r["section"], r["name"], r["group_value"]): r for r in table.to_pylist()}
    mean = rows_by_key["metric", "sharpness", None]
    assert (mean["n"], mean["of"], mean["better"]) == (47, 47, "higher")
    assert mean["low"] < mean["value"] < mean["high"]
    assert rows_by_key["run", "ok", None]["value"] == 47
    assert rows_by_key["missing", "smooth", "weights_missing"]["n"] == 47
    assert rows_by_key["group", "sharpness", "animal"]["group_column"] == "mode"
    assert rows_by_key["difference", "sharpness", None]["value"] == pytest.approx(0.2)
    assert rows_by_key["failure", "worker_died", "portrait"]["n"] == 2
    assert {r["run"] for r in table.to_pylist() if r["section"] == "published"} >= {"EchoMimic", "Hallo", "JoyHallo"}
    again = pa_csv.read_csv(files.csv)
    assert again.num_rows == table.num_rows
    assert again.column("value").to_pylist() == pytest.approx(table.column("value").to_pylist())


def test_the_same_run_gives_the_same_page(run):
    pages = [open(write_report(run).page, "rb").read() for _ in range(2)]
    assert pages[0] == pages[1]


def test_an_unfinished_run_says_what_is_left_out(tmp_path):
    write_run(tmp_path / "run", rows(20), outcome, manifests=tmp_path, shards=1)
    report = build_report(str(tmp_path / "run"))
    assert (report.headline.records, report.headline.pending) == (20, 12)


def test_a_run_in_which_nothing_is_finished_has_a_page(tmp_path):
    write_run(tmp_path / "run", rows(3), outcome, manifests=tmp_path, shards=0)
    page = open(write_report(str(tmp_path / "run")).page, encoding="utf-8").read()
    assert "3 of 3 records are not in this report" in page


def test_columns_that_later_shards_bring_or_lack_are_padded(tmp_path):
    def uneven(record):
        k = int(record.id[1:])
        return ok_outcome(record, **({"sharpness": float(k)} if k < 8 else {"identity": float(k)}))

    write_run(tmp_path / "run", rows(24), uneven, manifests=tmp_path)
    report = build_report(str(tmp_path / "run"))
    assert (figure(report, "sharpness").summary.n, figure(report, "sharpness").summary.maximum) == (8, 7.0)
    assert (figure(report, "identity").summary.n, figure(report, "identity").summary.minimum) == (16, 8.0)


@pytest.mark.parametrize("number", [float("inf"), -1.7e308, 1e13])
def test_numbers_that_no_metric_has_are_none(tmp_path, number):
    write_run(tmp_path / "run", rows(4), lambda r: ok_outcome(r, sharpness=number), manifests=tmp_path)
    figures = figure(build_report(str(tmp_path / "run")), "sharpness")
    assert figures.summary.n == 0
    assert [(reason.code, reason.count) for reason in figures.reasons] == [("not_finite", 4)]


@pytest.mark.slow
def test_a_report_lies_whole_in_an_object_store(s3_bucket, tmp_path):
    write_run(f"{s3_bucket}/run", rows(12), outcome, manifests=tmp_path)
    files = write_report(f"{s3_bucket}/run")
    assert files.page == f"{s3_bucket}/run/report/index.html"
    store = fsspec.filesystem("s3")
    assert sorted(name.rsplit("/", 1)[1] for name in store.ls(f"{s3_bucket}/run/report")) == [
        "index.html",
        "metrics.csv",
        "metrics.parquet",
    ]


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match="run_missing"):
        write_report(str(tmp_path))


def test_the_command_tells_where_the_report_is(run):
    result = CliRunner().invoke(app, ["report", run, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["page"] == f"{run}/report/index.html"


def test_a_run_is_reported_whatever_its_passed_through_columns_hold(tmp_path):
    rows = write_odd_table(tmp_path / "m.parquet")
    write_run(tmp_path / "run", rows, lambda record: ok_outcome(record, sharpness=1.0), manifests=tmp_path)
    report = build_report(str(tmp_path / "run"))
    (metric,) = [metric for metric in report.metrics if metric.summary.n]
    assert [group.value for group in metric.groups["latin"]] == ["caf\\xe9", "(none)"]
    assert [group.value for group in metric.groups["speaker"]] == ["anna", "ben"]


def test_scored_videos_are_linked_after_the_run_moved_together_with_them(tmp_path):
    project = tmp_path / "project"
    rows = write(project / "m.csv", [{"record_id": "r0", "video": "v.mp4"}, {"record_id": "r1", "video": "w.mp4"}])
    values = {"r0": 1.0, "r1": 2.0}
    write_run(project / "run", rows, lambda r: ok_outcome(r, sharpness=values[r.id]), manifests=tmp_path, name="other")
    moved = project.rename(tmp_path / "elsewhere")
    views = build_report(str(moved / "run")).views
    assert {view.source.location for view in views.values()} == {f"{moved}/v.mp4", f"{moved}/w.mp4"}


@pytest.mark.parametrize("animation", [3, None, "x", {"models": 3}, {"models": "elsewhere/bundle"}, {}])
def test_a_description_with_other_options_is_reported(run, tmp_path, animation):
    """Options that this version does not read are shown as they are."""
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run/run.yaml"
    description = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(description | {"configuration": {"animation": animation}}))
    report = build_report(str(tmp_path / "run"))
    assert yaml.safe_load(report.provenance.configuration) == {"animation": animation}


def test_numbers_that_floating_point_rounds_are_reported(tmp_path):
    def outcome_of_many_frames(record):
        return dataclasses.replace(ok_outcome(record), frames=2**62)

    write_run(tmp_path / "run", rows(2), outcome_of_many_frames, manifests=tmp_path)
    assert build_report(str(tmp_path / "run")).headline


def test_a_report_that_cannot_be_written_or_compared_is_refused_before_rows_are_read(tmp_path, monkeypatch):
    write_run(tmp_path / "run", rows(2), outcome, manifests=tmp_path)
    monkeypatch.setattr(OutcomeRows, "read", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(ManifestError, match="run_missing"):
        write_report(str(tmp_path / "run"), [str(tmp_path / "nothing")])
    (tmp_path / "run/report").touch()
    with pytest.raises(ManifestError, match=r"output_unwritable: .*/report/index\.html"):
        write_report(str(tmp_path / "run"))
