"""`joyvasa export`: what it prints, and that wrong options are refused before anything is read."""

import json

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.joyvasa.metrics.clips import moving_noise
from tests.media import write_video
from tests.pipelines.runs.export.hub import UploadHub
from tests.pipelines.runs.export.made_runs import inputs_folder, make_numbered_run, make_row, make_run


@pytest.fixture
def run(tmp_path):
    make_numbered_run(tmp_path / "run", 9, failed=["r003"])
    return str(tmp_path / "run")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("pipelines.runs.export.export.make_overview", lambda samples: None)


def invoke(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=True)


def test_the_result_is_one_line_and_notes_go_to_standard_error(run, tmp_path):
    result = invoke(run, "--out", tmp_path / "data", "--format", "parquet", "--shard-size", "20KB")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}/data: 8 records (train 8), 0.01 hours, 5,200 bytes of video, 2 shards\n"
    assert [line[:30] for line in result.stderr.splitlines()] == [
        "note: the rows state no licens",
        "note: records of the run that ",
    ]
    again = invoke(run, "--out", tmp_path / "data", "--format", "parquet", "--shard-size", "20KB")
    assert again.stdout.endswith("2 shards, 2 of them kept\n")


def test_json_is_one_document(run, tmp_path):
    result = json.loads(invoke(run, "--out", tmp_path / "data", "--json").stdout)
    assert (result["records"], result["splits"], result["shards"], result["url"]) == (8, {"train": 8}, 1, None)


def test_push_needs_a_license_or_consent_and_prints_the_address(run, tmp_path, monkeypatch):
    with UploadHub().serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        arguments = (run, "--out", tmp_path / "data", "--push", "me/faces")
        refused = invoke(*arguments)
        assert refused.exception.code == "license_not_accepted"
        assert not (tmp_path / "data").exists()
        assert invoke(*arguments, "--accept-licenses").stdout.splitlines()[-1] == f"{hub.url}/datasets/me/faces"
        assert hub.files["train/00000.tar"] == (tmp_path / "data/train/00000.tar").read_bytes()


@pytest.mark.parametrize(
    "options", [("--format", "zip"), ("--media", "files"), ("--shard-size", "huge"), ("--push", "faces"), ("--inputs",)]
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path, options):
    result = invoke(tmp_path / "no-run", "--out", tmp_path / "data", *options)
    assert result.exception.code == "config_invalid"


def test_the_card_shows_frames_of_the_videos(tmp_path, monkeypatch):
    monkeypatch.undo()
    video = write_video(tmp_path / "video.mp4", moving_noise(12)).read_bytes()
    make_run(tmp_path / "run", [make_row(0, inputs_folder(tmp_path / "run"))], content=lambda record_id: video)
    assert invoke(tmp_path / "run", "--out", tmp_path / "data").exit_code == 0
    assert (tmp_path / "data/contact_sheet.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert "![Frames of some of the videos](contact_sheet.jpg)" in (tmp_path / "data/README.md").read_text()
    assert "contact_sheet.jpg" in (tmp_path / "data/checksums.sha256").read_text()
