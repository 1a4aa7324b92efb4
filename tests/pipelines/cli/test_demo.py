import csv

import cv2
import pytest
from typer.testing import CliRunner

from joyvasa.media.audio import probe_audio
from joyvasa.runtime.result_tables import find_finished_tables, read_table
from manifests.examples import DEMO, PAIRS
from pipelines.cli.demo import N_PORTRAITS, _pair_media
from pipelines.cli.main import app
from tests.media import DATA, write_tone


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    (folder / "portraits").mkdir(parents=True)
    (folder / "speech").mkdir()
    picture = cv2.resize(cv2.imread(str(DATA / "portrait.jpg")), (160, 160))
    cv2.imwrite(str(folder / "portraits/one.jpg"), picture)
    for seconds in (0.6, 0.3, 0.4):
        write_tone(folder / f"speech/s{seconds}.wav", seconds=seconds)
    return folder


def test_a_demo_pairs_the_portraits_of_a_folder_with_its_shortest_recording(media, tmp_path):
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--executor", "local", "--media", str(media)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = read_table(find_finished_tables(out)).to_pylist()
    assert {row["record_id"]: row["status"] for row in rows} == {"one-s0.3": "ok"}
    assert all((out / row["video"]).stat().st_size > 1000 for row in rows)
    repeated = CliRunner().invoke(app, arguments)
    assert repeated.exit_code == 0  # a finished demo is not changed
    assert "1 ok" in repeated.output


def test_a_demo_does_not_replace_a_file_of_its_user(media, tmp_path):
    out = tmp_path / "demo"
    out.mkdir()
    (out / "pairs.csv").write_text("mine")
    arguments = ["demo", "--out", str(out), "--executor", "local", "--media", str(media)]
    assert "output_exists: " in str(CliRunner().invoke(app, arguments).exception)
    assert (out / "pairs.csv").read_text() == "mine"


def test_a_folder_without_recordings_is_refused(media, tmp_path):
    for file in (media / "speech").iterdir():
        file.unlink()
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--media", str(media)])
    assert result.exit_code == 2
    assert "no files; expected some to pair" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("manifest", [PAIRS, DEMO])
def test_the_files_of_the_bundled_manifests_exist(manifest):
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["image"] for row in rows}) >= 3
    for row in rows:
        assert (manifest.parent / row["image"]).is_file()
        assert probe_audio(manifest.parent / row["audio"]).duration_s > 1


def test_a_demo_makes_one_short_video_of_each_portrait(media):
    with DEMO.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["image"] for row in rows})
    assert [row["mode"] for row in rows] == ["human"] * N_PORTRAITS + ["animal"]
    for name in ("two", "three", "four", "five"):
        (media / f"portraits/{name}.jpg").write_bytes((media / "portraits/one.jpg").read_bytes())
    (media / "animals").mkdir()
    (media / "animals/cat.jpg").touch()
    ids = [(row["record_id"], row["mode"]) for row in csv.DictReader(_pair_media(media).decode().splitlines())]
    assert ids == [(f"{name}-s0.3", "human") for name in ("five", "four", "one", "three")] + [("cat-s0.3", "animal")]
