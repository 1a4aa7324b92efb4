import json
import shutil

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from manifests.problems import ManifestError
from pipelines.cli.manifest import validate_command
from pipelines.cli.pair import pair_command
from tests.media import EXAMPLES, write_tone

app = typer.Typer()
app.command("pair")(pair_command)
app.command("validate")(validate_command)


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def media(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "voices").mkdir()
    for name in ("portrait.jpg", "officer.jpg"):
        shutil.copy(EXAMPLES / name, tmp_path / "faces" / name)
    write_tone(tmp_path / "voices/short.wav", seconds=1.5)
    write_tone(tmp_path / "voices/long.wav", seconds=5)
    (tmp_path / "voices/short.txt").write_text("A tone.")
    return tmp_path


def rows(folder):
    return pq.read_table(folder / "pairs.parquet").to_pylist()


def test_pairs_pass_validation_and_the_result_is_printed(media):
    result = call("pair", media / "faces", media / "voices", "-o", media / "pairs.parquet", "--all")
    assert result.stdout == f"{media}/pairs.parquet: 4 pairs of 2 portraits (2 each) and 2 recordings (2 each)\n"
    assert result.exit_code == 0
    assert call("validate", media / "pairs.parquet").stdout == "4 rows, 0 bad\n"
    assert {row["audio"]: row["text"] for row in rows(media)} == {
        "voices/long.wav": None,
        "voices/short.wav": "A tone.",
    }


def test_long_recordings_are_cut_and_the_pieces_are_used(media):
    command = ("pair", media / "faces", media / "voices", "-o", media / "pairs.parquet", "--sample", 4)
    result = call(*command, "--take-seconds", "1:2", "--json")
    assert json.loads(result.stdout)["audio"]["entries"] == 4
    pieces = sorted(row["audio"] for row in rows(media))
    assert pieces[-1] == "voices/short.wav"
    assert all(piece.startswith("pairs.pieces/long/") for piece in pieces[:-1])
    assert call("validate", media / "pairs.parquet").stdout == "4 rows, 0 bad\n"

    content = (media / "pairs.parquet").read_bytes()
    call(*command, "--take-seconds", "1:2")
    assert (media / "pairs.parquet").read_bytes() == content


def test_checked_files_that_fail_are_left_out_with_the_reason(media):
    (media / "faces/broken.png").write_bytes(b"no picture")
    (media / "voices/broken.wav").write_bytes(b"no sound")
    command = ("pair", media / "faces", media / "voices", "-o", media / "pairs.parquet", "--all")
    assert call(*command).exit_code == 0
    assert len(rows(media)) == 9
    result = call(*command, "--check")
    assert result.exit_code == 3
    assert len(rows(media)) == 4
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == [
        "image_unreadable",
        "audio_unreadable",
    ]


def test_portraits_without_a_recording_of_equal_value_are_counted(media):
    (media / "faces.csv").write_text("image,speaker\nfaces/portrait.jpg,anna\nfaces/officer.jpg,ben\n")
    (media / "voices.csv").write_text("audio,person\nvoices/short.wav,anna\nvoices/long.wav,anna\n")
    sources = media / "faces.csv", media / "voices.csv"
    result = call("pair", *sources, "-o", media / "pairs.parquet", "--all", "--match-column", "speaker=person")
    assert [row["record_id"] for row in rows(media)] == ["faces_portrait--voices_short", "faces_portrait--voices_long"]
    assert result.stdout.splitlines()[1] == f"note: {media}/faces.csv: 1 of 2 portraits are in no pair"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--all", "--sample", 1],
        ["--sample", 0],
        ["--all", "--match-column", "speaker"],
        ["--all", "--take-seconds", "10"],
        ["--all", "--take-seconds", "10:4"],
        ["--all", "--take-seconds", "nan:4"],
        ["--all", "--take-seconds", "0:4"],
    ],
)
def test_a_wrong_command_line_exits_with_2_and_writes_nothing(media, options):
    result = call("pair", media / "faces", media / "voices", "-o", media / "pairs.parquet", *options)
    assert result.exit_code == 2
    assert not (media / "pairs.parquet").exists()


def test_a_text_without_a_sound_is_refused_with_what_to_do(media):
    (media / "m.csv").write_text("image,audio,text\nfaces/portrait.jpg,,Hello\nfaces/officer.jpg,,\n")
    lines = call("validate", media / "m.csv").stdout.splitlines()
    assert lines[0] == (
        "m.csv, line 2: audio is empty, and text is not spoken without a speech synthesizer; expected a recording: "
        "name one here, or set the option tts (text_without_sound)"
    )
    assert lines[1].endswith("(missing_value)")
    (media / "m.csv").write_text("image,text\nfaces/portrait.jpg,Hello\n")
    assert "(text_without_sound)" in call("validate", media / "m.csv").stdout


def test_options_are_drawn_for_each_pair_and_pass_validation(media):
    command = ("pair", media / "faces", media / "voices", "-o", media / "pairs.parquet", "--all")
    vary = ("--vary", "pose.yaw=-15:15", "--vary", "expression.amount=0.8:1.3", "--vary", "driving.region=all,lip")
    call(*command, *vary)
    drawn = rows(media)
    assert len({row["pose.yaw"] for row in drawn}) == 4
    assert all(0.8 <= row["expression.amount"] <= 1.3 for row in drawn)
    assert call("validate", media / "pairs.parquet").stdout == "4 rows, 0 bad\n"
    call(*command, *vary)
    assert rows(media) == drawn
    call(*command, *vary, "--seed", 1)
    assert rows(media) != drawn


def test_a_column_is_not_drawn_a_second_time(media):
    (media / "faces.csv").write_text("image,pose.yaw\nfaces/portrait.jpg,3\n")
    command = ("pair", media / "faces.csv", media / "voices", "-o", media / "pairs.parquet", "--all")
    with pytest.raises(ManifestError, match=r"manifest_columns: .*pose.yaw twice, once by --vary"):
        call(*command, "--vary", "pose.yaw=-15:15")
    result = call(*command, "--vary", "smile=0:0.5", "--vary", "smile=0.2,1")
    assert result.exit_code == 2
    assert "smile is given twice" in result.stderr
