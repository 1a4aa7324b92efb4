import json
import os
import subprocess
import sys
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from joyvasa.errors import JoyvasaError, ModelError
from joyvasa.motion.file import save_motion
from manifests.estimate import NO_PROFILE, RateProfile, StageRate
from manifests.problems import ManifestError
from manifests.stats import VideoSizes
from pipelines.cli.manifest import plan_command, validate_command
from tests.manifests.tables import pair, write
from tests.media import NOISE_FRAMES, write_tone, write_video
from tests.motions import random_motion

app = typer.Typer()
app.command("validate")(validate_command)
app.command("plan")(plan_command)


def call(*arguments, catch_exceptions=True):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=catch_exceptions)


@pytest.fixture
def media(tmp_path):
    for number in range(7):
        (tmp_path / f"p{number}.png").write_bytes(b"x")
    for number in range(5):
        write_tone(tmp_path / f"s{number}.wav", seconds=1 + number, rate=16_000, channels=1)
    return tmp_path


def test_a_good_manifest_exits_with_0(media):
    result = call("validate", write(media / "m.csv", [pair(n) for n in range(9)]))
    assert result.exit_code == 0
    assert result.stdout == "9 rows, 0 bad\n"


def test_a_manifest_with_animals_counts_them(media):
    result = call("validate", write(media / "m.csv", [pair(n, mode="animal" if n % 3 else "human") for n in range(9)]))
    assert result.stdout == "9 rows, 0 bad\n  good rows by mode: 6 animal, 3 human\n"


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_options_that_the_models_cannot_apply_are_problems_before_a_run(media, command, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(media / "none"))
    path = write(media / "m.csv", [pair(1, mode="animal", smile="0.5"), pair(2, smile="0.5")])
    flags = ["--no-probe"] if command == "plan" else []
    result = call(command, path, *flags)
    assert result.exit_code == 3
    assert "2 rows, 1 bad" in result.stdout
    assert "control_unsupported: 1" in result.stdout
    with pytest.raises(ModelError, match="models_missing"):  # no problem of the row
        call(command, path, "--models", "joyvasa", *flags, catch_exceptions=False)


def test_texts_and_voices_are_checked_with_the_speech_synthesizer_of_the_run(media):
    path = write(media / "m.csv", [pair(1, audio="", text="Hi", voice="kal"), pair(2, audio="", text="Hi", voice="x")])
    assert "text_without_sound: 2" in call("validate", path).stdout
    result = call("validate", path, "--set", "tts=flite")
    assert result.exit_code == 3
    assert "2 rows, 1 bad\n  voice_unknown: 1" in result.stdout
    assert call("validate", path, "--set", "limit=1").exit_code == 2


def test_bad_rows_are_printed_up_to_a_limit_and_exit_with_3(media):
    path = write(media / "m.csv", [pair(n, mode="\x1b[2J") for n in range(9)])
    result = call("validate", path, "--max-report", 2)
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        r"m.csv, line 2: mode '\\x1b[2J' expected human or animal (unknown_mode)",
        r"m.csv, line 3: mode '\\x1b[2J' expected human or animal (unknown_mode)",
        "... and 7 more; see --max-report",
        "9 rows, 9 bad",
        "  unknown_mode: 9",
    ]


def test_json_output_is_one_document(media):
    path = write(media / "m.csv", [pair(n, audio="none.wav" if n == 4 else "s1.wav") for n in range(9)])
    result = call("validate", path, "--json", "--max-report", 0)
    assert result.exit_code == 3
    content = json.loads(result.stdout)
    assert (content["rows"], content["bad_rows"], content["by_code"]) == (9, 1, {"file_missing": 1})
    assert (content["problems"], content["problems_left_out"]) == ([], 1)
    assert call("validate", path, "--no-files").exit_code == 0


def test_a_plan_counts_the_sound_of_the_files(media):
    result = call("plan", write(media / "m.csv", [pair(n) for n in range(10)]), "--shard-size", 3, "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert (content["shards"], content["records"], content["portraits"], content["recordings"]) == (4, 10, 7, 5)
    assert (content["sound_s"], content["frames"], content["windows"]) == (30.0, 750, 2 * (4 + 2))
    assert content["estimate"] == NO_PROFILE


def test_a_plan_measures_sounds_in_tables_and_fetches_none(media):
    sounds = [(media / f"s{number}.wav").read_bytes() for number in range(2)]
    pq.write_table(pa.table({"image": ["p0.png"] * 2, "audio": sounds}), media / "m.parquet")
    counts = json.loads(call("plan", media / "m.parquet", "--json").stdout)
    assert (counts["sound_s"], counts["recordings"], counts["probe_failures"]) == (3.0, 2, {})
    write(media / "remote.csv", [{"image": "p0.png", "audio": "https://host.invalid/a.wav"}])
    counts = json.loads(call("plan", media / "remote.csv", "--json").stdout)
    assert counts["probe_failures"] == {"not_fetched": 1}


def test_a_plan_of_recordings_at_uris_says_that_their_length_is_unknown(media):
    write(
        media / "m.csv", [{"image": "p0.png", "audio": f"{scheme}://bucket.invalid/a.wav"} for scheme in ("http", "s3")]
    )
    (media / "rates.yaml").write_text("stages: {render: {per: frame, seconds: 1, gpus: 1}}\ndisk: {frame: 1000}")
    command = ("plan", media / "m.csv", "--profile", media / "rates.yaml")
    counts = json.loads(call(*command, "--json").stdout)
    assert [counts[name] for name in ("not_fetched", "sound_s", "frames", "windows")] == [2, None, None, None]
    assert (counts["estimate"]["gpu_hours"], counts["estimate"]["disk_bytes"]) == (None, None)

    shown = call(*command).stdout
    for line in ("seconds of sound       unknown", "windows (100 frames)   unknown", "GPU time               unknown"):
        assert line in shown
    assert "unreadable media: not_fetched: 2" in shown


def test_a_plan_counts_recordings_at_uris_with_the_mean_of_those_that_were_read(media):
    names = ["s0.wav", "s1.wav", "s1.wav", "http://host.invalid/a.wav", "s3://bucket.invalid/b.wav"]  # 1 and 2 seconds
    write(media / "m.csv", [{"image": f"p{n}.png", "audio": name} for n, name in enumerate(names)])
    counts = json.loads(call("plan", media / "m.csv", "--json").stdout)
    assert [counts[name] for name in ("sound_s", "distinct_sound_s", "not_fetched")] == [1 + 2 + 2 + 2 * 1.5, 6.0, 2]
    assert counts["frames"] == 25 + 2 * 50 + 2 * 38
    assert "note: 2 recordings at URIs are counted with the mean length" in call("plan", media / "m.csv").stdout


def test_a_plan_estimates_the_length_of_texts_that_are_spoken(media):
    texts = ("x" * 28, "你好" * 7, "x" * 28)
    rows = [{"image": f"p{n}.png", "text": text} for n, text in enumerate(texts)]
    write(media / "m.jsonl", [*rows, pair(0)])
    counts = json.loads(call("plan", media / "m.jsonl", "--set", "tts=flite", "--json").stdout)
    assert (counts["bad_rows"], counts["texts"], counts["text_s"]) == (0, 3, 2 + 3 + 2)
    assert (counts["sound_s"], counts["distinct_sound_s"], counts["frames"]) == (7 + 1, 2 + 3 + 1, 25 * 8)
    assert (
        "texts to speak         3, about 7 s by their characters\n"
        in call("plan", media / "m.jsonl", "--set", "tts=flite").stdout
    )
    refused = call("plan", media / "m.jsonl")
    assert refused.exit_code == 3
    assert "text_without_sound: 3" in refused.stdout


def test_a_plan_counts_the_frames_of_motion_files_and_driving_videos(media):
    save_motion(media / "m.safetensors", random_motion(40))
    write_video(media / "v.mp4", rate=50)
    rows = [{"image": "p0.png", "motion": name} for name in ("m.safetensors", "v.mp4")]
    write(media / "m.jsonl", [*rows, {**rows[0], "audio": "s1.wav"}])
    counts = json.loads(call("plan", media / "m.jsonl", "--json").stdout)
    assert (counts["motions"], counts["frames"], counts["probe_failures"]) == (
        2,
        40 + -(-len(NOISE_FRAMES) // 2) + 50,
        {},
    )

    write(media / "m.jsonl", [{"image": "p0.png", "motion": "s3://bucket.invalid/m.safetensors"}])
    assert json.loads(call("plan", media / "m.jsonl", "--json").stdout)["frames"] is None


def test_a_plan_refuses_conditions_on_rows(media):
    result = call("plan", write(media / "m.csv", [pair(0)]), "--measure", "--set", "limit=1")
    assert result.exit_code == 2
    assert "generate --dry-run" in result.output


@pytest.mark.parametrize(("models", "silent_frames"), [("sample", 0), ("random", 2)])
def test_a_plan_uses_the_motion_model_of_the_bundle(media, models, silent_frames):
    path = write(media / "m.csv", [pair(n) for n in range(10)])
    content = json.loads(call("plan", path, "--models", models, "--json").stdout)
    assert content["sizes"] == asdict(VideoSizes(25, 100, silent_frames))
    # four seconds and two more frames need another window
    assert content["windows"] == 2 * (4 + 2 + (silent_frames > 0))
    assert call("plan", path, "--models", models).stdout.count("windows (100 frames)") == 1


def test_a_plan_without_probing_reads_no_media(tmp_path):
    result = call("plan", write(tmp_path / "m.csv", [pair(n) for n in range(10)]), "--no-probe")
    assert result.exit_code == 0
    assert "seconds of sound       not read" in result.stdout
    assert NO_PROFILE in result.stdout


def test_a_profile_adds_hours_and_disk_space(media):
    rates = media / "rates.yaml"
    rates.write_text("stages: {render: {per: frame, seconds: 4.8, gpus: 0.5}}\ndisk: {frame: 2000000}")
    result = call("plan", write(media / "m.csv", [pair(n) for n in range(10)]), "--profile", rates)
    assert "GPU time               30.00 min\n" in result.stdout
    assert "disk                   1.50 GB\n" in result.stdout


def test_a_small_plan_has_no_rows_of_zeros(media):
    rates = media / "fast.yaml"
    stages = "render: {per: frame, seconds: 0.01, gpus: 1}, score: {per: record, seconds: 0.0002}"
    rates.write_text(f"stages: {{{stages}}}\ndisk: {{frame: 2000}}")
    shown = call("plan", write(media / "m.csv", [pair(n) for n in range(10)]), "--profile", rates).stdout
    assert shown.splitlines()[-6:] == [
        "GPU time               7.50 s",
        "  render               7.50 s",
        "worker time            7.50 s",
        "  render               7.50 s",
        "  score                2.00 ms",
        "disk                   1.50 MB",
    ]


def test_a_plan_uses_the_models_of_the_measured_run(media, monkeypatch):
    profile = RateProfile("here", {"render": StageRate("frame", 1.0)}, models="random")
    monkeypatch.setattr("pipelines.runs.rates.read_run_rates", lambda _: profile)
    path = write(media / "m.csv", [pair(0)])
    assert json.loads(call("plan", path, "--profile", "RUN", "--json").stdout)["sizes"]["silent_frames"] == 2
    result = call("plan", path, "--profile", "RUN", "--models", "sample", "--json")
    assert json.loads(result.stdout)["sizes"]["silent_frames"] == 0


@pytest.mark.parametrize(("command", "option"), [("validate", "--models"), ("plan", "--models"), ("plan", "--profile")])
def test_an_empty_value_of_an_option_is_an_error_and_not_the_default(media, command, option):
    result = call(command, write(media / "m.csv", [pair(0)]), option, "")
    assert isinstance(result.exception, JoyvasaError)
    assert result.exception.code in ("bundle_unknown", "storage_empty")


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_missing_manifest_is_an_error(tmp_path, command):
    result = call(command, tmp_path / "none.csv")
    assert isinstance(result.exception, ManifestError)
    assert result.exception.code == "manifest_missing"


def test_validate_refuses_what_a_run_cannot_copy(media):
    write(media / "set/a.parquet", [pair(0, image="../p0.png", audio="../s0.wav", score=1)])
    write(media / "set/b.parquet", [pair(1, image="../p0.png", audio="../s1.wav", score="one")])
    result = call("validate", media / "set")
    assert isinstance(result.exception, ManifestError)
    assert result.exception.code == "manifest_columns"


def test_problems_of_a_folder_name_their_file(media):
    write(media / "set/a.jsonl", [pair(0, image="../p0.png", audio="../s0.wav", mode="fish")])
    write(media / "set/b.jsonl", [pair(1, image="../p0.png", audio="../s1.wav")])
    assert call("validate", media / "set").stdout.startswith("a.jsonl, line 1: mode 'fish' expected human or animal")


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path):
    write(tmp_path / "pairs.csv", [{"record_id": "\u8a71", "image": str(tmp_path / "\u9854.png"), "audio": "no.wav"}])
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "joyvasa", "validate", str(tmp_path / "pairs.csv")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="latin-1", check=False)
    assert result.returncode == 3, result.stderr
    assert "\\u9854.png" in result.stdout
    unexpected = [line for line in result.stderr.splitlines() if not line.startswith("rows read: ")]
    assert unexpected == []  # progress is printed on slow machines only
