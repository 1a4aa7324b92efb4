"""`joyvasa status` shows what a run is doing, and follows it."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from manifests.run.events import EventLog
from pipelines.cli import progress, runs
from pipelines.cli.main import app
from pipelines.engine.statistics import Estimate, RunStatistics, StageStatistics
from tests.pipelines.report.run_folders import ok_outcome, write_run


@pytest.fixture
def run(tmp_path):
    """A run folder of which one of two records is finished, and a function that logs an event of its driver."""
    rows = [{"record_id": name, "image": "a.png", "audio": "a.wav"} for name in ("a", "b")]
    folder = write_run(tmp_path / "run", rows, ok_outcome, manifests=tmp_path, shard_size=1, shards=1)
    log = EventLog(folder.storage)
    statistics = RunStatistics({"render": StageStatistics()}, elapsed_s=60.0, first_batch_s=5.0, ok=1).as_dict()

    def write(event, left_s=84.0):
        estimate = asdict(Estimate(left_s, False, "render", "frame", 143.0, 11.93))
        log.write(event, **statistics, records=2, estimate=estimate, error=None)

    log.write("run_started")
    return str(tmp_path / "run"), write


def test_a_running_run_shows_its_slowest_stage_and_the_time_left(run):
    folder, write = run
    write("progress")
    lines = CliRunner().invoke(app, ["status", folder]).output.splitlines()
    assert lines[0].split() == ["activity", "running"]
    assert "slowest stage    render, 143 frames, 11.9 frames/s" in lines
    assert "time left        1 min 24 s" in lines
    values = json.loads(CliRunner().invoke(app, ["status", folder, "--json"]).output)
    assert values["estimate"]["left_s"] == 84.0
    assert values["pending"] == 1


def test_an_ended_run_shows_no_estimate(run):
    folder, write = run
    write("run_ended")
    values = json.loads(CliRunner().invoke(app, ["status", folder, "--json"]).output)
    assert values["activity"] == "stopped: it ended before all records were done"
    assert values["estimate"] is None


def test_watch_prints_each_change_until_the_run_ends(run, monkeypatch):
    folder, write = run
    events = iter([("progress", 40.0), ("progress", 20.0), ("run_ended", 0.0)])
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    monkeypatch.setattr(runs.time, "sleep", lambda seconds: write(*next(events)))
    write("progress")
    result = CliRunner().invoke(app, ["status", folder, "--watch"])
    assert [line.rpartition("; ")[2] for line in result.stderr.splitlines()] == [
        "1 min 24 s left",
        "40 s left",
        "20 s left",
    ]
    assert result.stdout.startswith("activity         stopped")
