"""Videos of other systems are scored into a run folder, with the local executor."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from joyvasa.config import load_config
from joyvasa.errors import ConfigError
from joyvasa.metrics import METRIC_NAMES, build_metric
from manifests.problems import ManifestError
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.runs.config import RunConfig
from pipelines.runs.evaluate import evaluate_videos
from pipelines.runs.generate import generate_videos
from pipelines.runs.resume import resume_run
from tests.joyvasa.metrics.clips import moving_noise
from tests.media import EXAMPLES, write_tone, write_video
from tests.pipelines.runs.evaluating import generate_run, make_config, write_video_manifest
from tests.pipelines.runs.small_runs import interrupted_after, read_rows


@pytest.fixture(autouse=True, scope="module")
def no_weights(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOYVASA_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


def read_numbers(run: Path) -> dict[str, dict]:
    """Return the outcome rows without values that differ between runs: seconds and attempts."""
    numbers = {}
    for name, row in read_rows(run).items():
        numbers[name] = {
            key: value for key, value in row.items() if not key.startswith("seconds_") and key != "attempts"
        }
    return numbers


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Write a manifest of four videos."""
    folder = tmp_path_factory.mktemp("videos")
    sound = write_tone(folder / "tone.wav", seconds=1.2)
    for number in range(4):
        write_video(
            folder / f"v{number}.mp4", moving_noise(30 + number, seed=number), sound=sound if number % 2 else None
        )
    rows = [{"record_id": f"v{n}", "video": f"v{n}.mp4", "audio": "tone.wav", "city": f"c{n}"} for n in range(4)]
    return write_video_manifest(folder, rows)


@pytest.fixture(scope="module")
def scored_run(videos, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    assert evaluate_videos(videos, run, "Hallo", make_config()).all_ok
    return run


def test_each_video_has_a_row_with_numbers_and_reasons(scored_run):
    rows = read_rows(scored_run)
    assert list(rows) == ["v0", "v1", "v2", "v3"]
    columns = {f"metric_{column.name}" for name in METRIC_NAMES for column in build_metric(name).columns}
    for number, row in enumerate(rows.values()):
        assert row["status"] == "ok"
        assert row["frames"] == 30 + number
        assert row["duration_s"] == pytest.approx((30 + number) / 25)
        assert (row["input_video"], row["city"], row["video"]) == (f"v{number}.mp4", f"c{number}", None)
        assert row["metric_temporal_flickering"] > 0
        assert columns <= row.keys()
        reasons = json.loads(row["metric_reasons"])
        assert {f"metric_{name}" for name in reasons} == {name for name in columns if row[name] is None}
        assert reasons["head_range"].startswith("no_motion: ")
    assert rows["v1"]["metric_picture_minus_sound_s"] is not None
    assert "no_sound: " in json.loads(rows["v0"]["metric_reasons"])["picture_minus_sound_s"]


def test_the_run_folder_names_the_system(scored_run):
    description = RunFolder(open_storage(scored_run)).read_description()
    assert (description.kind, description.name) == ("evaluate", "Hallo")


KILLED_WHILE_SCORING = """
import os, signal, sys
from joyvasa.metrics.metric_set import MetricSet
from tests.pipelines.runs.evaluating import generate_run

measure, calls = MetricSet.measure, []

def measure_one(*arguments, **more):
    calls.append(arguments)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(*arguments, **more)

MetricSet.measure = measure_one
generate_run(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_a_run_killed_while_scoring_is_resumed_to_the_same_rows(videos, tmp_path):
    portrait = EXAMPLES / "portrait.jpg"
    write_tone(videos.parent / "short.wav", seconds=0.4)
    rows = [{"record_id": f"r{n}", "image": portrait, "audio": "short.wav"} for n in range(3)]
    pairs = write_video_manifest(videos.parent, rows, "pairs.csv")
    generate_run(pairs, tmp_path / "whole")
    command = [sys.executable, "-c", KILLED_WHILE_SCORING, str(pairs), str(tmp_path / "killed")]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == -signal.SIGKILL
    before = RunFolder(open_storage(tmp_path / "killed"))
    assert before.count_records(before.read_manifest()).pending > 0
    assert resume_run(tmp_path / "killed").all_ok
    expected = read_numbers(tmp_path / "whole")
    assert read_numbers(tmp_path / "killed") == expected
    assert all(row["metric_head_speed"] > 0 for row in expected.values())


def test_an_interrupted_evaluation_is_resumed_to_the_same_rows(videos, scored_run, tmp_path):
    run = tmp_path / "run"
    with interrupted_after(1):
        evaluate_videos(videos, run, "Hallo", make_config())
    folder = RunFolder(open_storage(run))
    assert folder.count_records(folder.read_manifest()).statuses == {"ok": 1}
    assert resume_run(run).all_ok
    assert read_numbers(run) == read_numbers(scored_run)


def test_a_finished_evaluation_is_not_changed_by_a_resume(scored_run):
    before = {path: path.stat().st_mtime_ns for path in scored_run.rglob("shards/**/*") if path.is_file()}
    assert resume_run(scored_run).all_ok
    assert {path: path.stat().st_mtime_ns for path in scored_run.rglob("shards/**/*") if path.is_file()} == before


def test_a_bad_video_fails_alone(videos, tmp_path):
    (videos.parent / "text.mp4").write_text("no video")
    rows = [{"record_id": name, "video": f"{name}.mp4"} for name in ("v0", "text", "none")]
    result = evaluate_videos(
        write_video_manifest(videos.parent, rows, "bad.csv"), tmp_path / "run", "X", make_config("metrics=[flicker]")
    )
    assert result.counts.statuses == {"ok": 1, "failed": 2}
    outcomes = read_rows(tmp_path / "run")
    assert outcomes["text"]["error_code"] == "video_unreadable"
    assert outcomes["none"]["error_code"] == "video_missing"
    assert outcomes["none"]["stage"] == "read_video"
    assert outcomes["v0"]["metric_temporal_flickering"] > 0


def test_only_chosen_metrics_are_computed(videos, tmp_path):
    evaluate_videos(videos, tmp_path / "run", "X", make_config("metrics=[freeze]"))
    metrics = {name for name in read_rows(tmp_path / "run")["v0"] if name.startswith("metric_")} - {"metric_reasons"}
    assert metrics == {f"metric_{column.name}" for column in build_metric("freeze").columns}


def test_rows_without_a_video_are_refused(videos, tmp_path):
    path = write_video_manifest(
        videos.parent, [{"record_id": "a", "audio": "tone.wav", "image": "a.png"}], "without.csv"
    )
    with pytest.raises(
        ManifestError, match=r"manifest_rows.*line 2: video is empty; expected the path or URI of a finished video"
    ):
        evaluate_videos(path, tmp_path / "run", "X", make_config())
    assert not (tmp_path / "run").exists()


def test_rows_with_only_a_video_cannot_be_generated(videos, tmp_path):
    with pytest.raises(ManifestError, match="manifest_rows"):
        generate_videos(videos, tmp_path / "run", load_config(RunConfig))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 81])
def test_an_unprintable_or_long_name_is_refused(videos, tmp_path, name):
    with pytest.raises(ConfigError, match="config_invalid: name"):
        evaluate_videos(videos, tmp_path / "run", name, make_config())


@pytest.mark.parametrize(
    ("setting", "code"), [("metrics=none", "config_invalid"), ("metrics=[sharp]", "metric_unknown")]
)
def test_invalid_metrics_are_refused(videos, tmp_path, setting, code):
    with pytest.raises(ConfigError, match=code):
        evaluate_videos(videos, tmp_path / "run", "X", make_config(setting))


def test_the_command_scores_videos_and_prints_the_result(videos, tmp_path):
    arguments = ["evaluate", str(videos), "--name", "Hallo", "--out", str(tmp_path / "run"), "--executor", "local"]
    result = CliRunner().invoke(app, [*arguments, "--set", "metrics=[flicker]", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["statuses"] == {"ok": 4}
    assert np.isfinite([row["metric_temporal_flickering"] for row in read_rows(tmp_path / "run").values()]).all()
