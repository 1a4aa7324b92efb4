"""`joyvasa animate` writes a video, or prints one sentence, exits with an error and leaves no files."""

import os
import sys

import cv2
import numpy as np
import pytest

from joyvasa.media.audio import load_audio
from joyvasa.media.ffmpeg import list_streams
from joyvasa.media.video_reader import probe_video
from pipelines.cli.main import main
from tests.joyvasa.faces.animals import draw_cat
from tests.joyvasa.media.bad_sounds import (
    digital_silence,
    empty,
    missing,
    nan_samples,
    twenty_milliseconds,
    video_without_sound,
    zero_length,
)
from tests.media import EXAMPLES, MEDIA, ffmpeg, read_frames, small_disk, write_tone

PORTRAIT = EXAMPLES / "portrait.jpg"


@pytest.fixture
def joyvasa(monkeypatch, capsys):
    """Return a function that runs a command in this process and returns (exit code, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["joyvasa", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def speech(tmp_path_factory):
    return write_tone(tmp_path_factory.mktemp("speech") / "speech.wav", seconds=1.0)


def test_the_video_is_as_long_as_its_sound(tmp_path, joyvasa, speech):
    code, out, err = joyvasa("animate", PORTRAIT, speech, "-o", tmp_path / "out.mp4", "--models", "random")
    assert code == 0, err
    assert f"{tmp_path}/out.mp4: 25 frames, 1.00 s, 640x640" in out
    assert "random" in err  # warns about random weights
    frames = read_frames(tmp_path / "out.mp4")
    assert frames.shape == (25, 640, 640, 3)
    assert list_streams(tmp_path / "out.mp4") == ["video/h264", "audio/aac"]
    assert len(load_audio(tmp_path / "out.mp4")) / 16_000 == pytest.approx(1.0, abs=1 / 25)
    source = cv2.imread(str(PORTRAIT))[..., ::-1].astype(int)
    changed = np.abs(frames.astype(int) - source).max((0, 3))
    assert changed[:5].max() <= 24  # the background above the crop is only compressed
    assert np.median(changed[260:440, 260:380]) > 24  # the face is rendered
    assert b"RANDOM WEIGHTS" in (tmp_path / "out.mp4").read_bytes()
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_an_animal_needs_its_mode(tmp_path, joyvasa, speech):
    cv2.imwrite(str(tmp_path / "cat.png"), draw_cat()[..., ::-1])
    arguments = (tmp_path / "cat.png", speech, "-o", tmp_path / "out.mp4", "--models", "random")
    code, out, err = joyvasa("animate", *arguments, "--mode", "animal")
    assert code == 0, err
    assert "25 frames, 1.00 s, 400x400" in out
    (tmp_path / "out.mp4").unlink()
    result = joyvasa("animate", *arguments)
    expect_one_sentence(result, "face_not_found")
    assert "use mode=animal" in result[2]


@pytest.mark.slow
def test_motion_depends_on_the_seed(tmp_path, joyvasa, speech):
    videos = []
    for seed in (1, 1, 2):
        out = tmp_path / "out.mp4"
        assert joyvasa("animate", PORTRAIT, speech, "-o", out, "--seed", seed)[0] == 0
        videos.append(read_frames(out).astype(int))
    assert np.array_equal(videos[0], videos[1])
    assert np.abs(videos[0] - videos[2]).max() > 8


def test_printed_options_can_be_read_back(tmp_path, joyvasa):
    code, out, _ = joyvasa("options", "--set", "crop.scale=2.0", "--set", "seed=4")
    assert code == 0
    (tmp_path / "options.yaml").write_text(out)
    code, repeated, _ = joyvasa("options", "--config", tmp_path / "options.yaml")
    assert code == 0
    assert repeated == out
    assert "scale: 2.0" in out
    assert "seed: 4" in out


def text_named_png(folder):
    (folder / "text.png").write_text("not a picture\n" * 100)
    return folder / "text.png"


def truncated_jpeg(folder):
    (folder / "cut.jpg").write_bytes(PORTRAIT.read_bytes()[:30_000])
    return folder / "cut.jpg"


def one_pixel(folder):
    cv2.imwrite(str(folder / "one.png"), np.zeros((1, 1, 3), np.uint8))
    return folder / "one.png"


def huge(folder):
    cv2.imwrite(str(folder / "huge.png"), np.zeros((20_000, 20_000), np.uint8))
    return folder / "huge.png"


def no_face(folder):
    cv2.imwrite(str(folder / "grey.png"), np.full((400, 400, 3), 128, np.uint8))
    return folder / "grey.png"


BAD_PICTURES = [
    (missing, "image_missing"),
    (empty, "image_empty"),
    (text_named_png, "image_unreadable"),
    (truncated_jpeg, "image_truncated"),
    (one_pixel, "image_too_small"),
    (huge, "image_too_large"),
    (no_face, "face_not_found"),
]
BAD_SOUNDS = [
    (missing, "audio_missing"),
    (empty, "audio_empty"),
    (digital_silence, "audio_silent"),
    (zero_length, "audio_too_short"),
    (twenty_milliseconds, "audio_too_short"),
    (nan_samples, "audio_not_finite"),
    (video_without_sound, "audio_unreadable"),
]


def expect_one_sentence(result, code):
    exit_code, out, err = result
    assert exit_code not in (0, 3)
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith(f"error: {code}: ")


@pytest.mark.parametrize(("make", "code"), BAD_PICTURES, ids=[make.__name__ for make, _ in BAD_PICTURES])
def test_a_bad_picture_is_an_error_of_one_sentence_and_leaves_no_file(tmp_path, joyvasa, speech, make, code):
    path = make(tmp_path)
    (tmp_path / "out").mkdir()
    expect_one_sentence(joyvasa("animate", path, speech, "-o", tmp_path / "out/x.mp4"), code)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(("make", "code"), BAD_SOUNDS, ids=[make.__name__ for make, _ in BAD_SOUNDS])
def test_a_bad_recording_is_an_error_of_one_sentence_and_leaves_no_file(tmp_path, joyvasa, make, code):
    path = make(tmp_path)
    (tmp_path / "out").mkdir()
    expect_one_sentence(joyvasa("animate", PORTRAIT, path, "-o", tmp_path / "out/x.mp4"), code)
    assert os.listdir(tmp_path / "out") == []


def test_an_unwritable_folder_is_an_error_before_inference(tmp_path, joyvasa, speech):
    with small_disk(tmp_path / "disk", "ro") as folder:
        result = joyvasa("animate", PORTRAIT, speech, "-o", folder / "x.mp4")
    expect_one_sentence(result, "output_unwritable")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((PORTRAIT, "SPEECH", "-o", "out.avi"), "output_unwritable"),
        ((PORTRAIT, "SPEECH", "-o", "missing/out.mp4"), "output_unwritable"),
        (("missing.jpg", "SPEECH"), "image_missing"),
        ((PORTRAIT, "missing.wav"), "audio_missing"),
        ((PORTRAIT,), "motion_missing"),
    ],
)
def test_files_are_checked_before_models(tmp_path, joyvasa, speech, monkeypatch, arguments, code):
    monkeypatch.chdir(tmp_path)
    arguments = [speech if argument == "SPEECH" else argument for argument in arguments]
    expect_one_sentence(joyvasa("animate", *arguments, "--models", "/no/bundle"), code)


def test_a_full_disk_is_an_error_of_one_sentence_and_leaves_no_file(tmp_path, joyvasa, speech):
    with small_disk(tmp_path / "disk") as folder:
        (folder / "ballast").write_bytes(bytes(1_000_000))
        exit_code, out, err = joyvasa("animate", PORTRAIT, speech, "-o", folder / "x.mp4", "--set", "encoding.crf=0")
        *progress, sentence = err.splitlines(keepends=True)
        assert all(line.startswith(("motion: ", "frames: ")) for line in progress), err  # of a slow machine only
        expect_one_sentence((exit_code, out, sentence), "disk_full")
        assert os.listdir(folder) == ["ballast"]


def test_missing_ffmpeg_is_an_error(tmp_path, joyvasa, speech, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = joyvasa("animate", PORTRAIT, speech, "-o", tmp_path / "x.mp4")
    expect_one_sentence(result, "ffmpeg_missing")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--models", "nonsense"], "bundle_unknown"),
        (["--models", "2024"], "bundle_unknown"),
        (["--models", "no"], "bundle_unknown"),
        (["--models", "joyvasa"], "models_missing"),
        (["--set", "crop.scal=2"], "config_unknown_option"),
        (["--precision", "int8"], "config_invalid"),
        (["--mode", "fish"], "config_invalid"),
        (["--mode", "animal", "--models", "joyvasa"], "models_missing"),
        (["--mode", "animal", "--set", "face.detector=insightface"], "config_invalid"),
        (
            ["--models", "joyvasa", "--set", "licenses=commercial", "--set", "face.detector=insightface"],
            "license_refused",
        ),
        (["--device", "abacus"], "device_unavailable"),
        (["--device", "cuda:77"], "device_unavailable"),
        (["-o", "out.avi"], "output_unwritable"),
    ],
)
def test_impossible_options_are_an_error_of_one_sentence(tmp_path, joyvasa, speech, options, code, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    expect_one_sentence(joyvasa("animate", PORTRAIT, speech, *options), code)
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_replaced_by_the_output(joyvasa, tmp_path, link):
    recording = tmp_path / "talk.mp4"
    recording.write_bytes((MEDIA / "videos/d12.mp4").read_bytes())
    output = recording if link is None else tmp_path / "out.mp4"
    if link:
        link(recording, output)
    before = recording.read_bytes()
    code, _, errors = joyvasa("animate", PORTRAIT, recording, "-o", output)
    assert code == 1
    assert f"output_is_input: {output}: the same file as the input {recording}" in errors
    assert recording.read_bytes() == before


@pytest.mark.parametrize("address", ["http://example.org/a.png", "s3://bucket/a.png", "file:///a.png"])
def test_an_address_is_refused_with_the_way_to_use_it(joyvasa, address):
    code, _, errors = joyvasa("animate", address, "speech.wav")
    assert code == 1
    assert "path_remote" in errors
    assert "expected a local file" in errors


def test_names_that_are_not_utf8_are_read_and_written(joyvasa, tmp_path):
    folder = tmp_path / os.fsdecode(b"d\xe9r")
    folder.mkdir()
    portrait, speech = folder / os.fsdecode(b"caf\xe9.jpg"), folder / os.fsdecode(b"caf\xe9.wav")
    portrait.write_bytes(PORTRAIT.read_bytes())
    ffmpeg("-i", EXAMPLES / "speech.flac", "-t", 0.3, tmp_path / "speech.wav")
    (tmp_path / "speech.wav").rename(speech)
    output = folder / os.fsdecode(b"o\xe9.mp4")
    code, printed, errors = joyvasa("animate", portrait, speech, "-o", output, "--set", "picture.max_side=192")
    assert code == 0, errors
    assert "frames" in printed
    assert probe_video(output).has_sound
