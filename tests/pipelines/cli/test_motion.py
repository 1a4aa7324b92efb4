import numpy as np
import pytest
from typer.testing import CliRunner

from joyvasa.errors import InputError, OutputError
from joyvasa.media.audio import load_audio
from joyvasa.motion.file import load_motion
from pipelines.cli.motion import app
from tests.joyvasa.training.recordings import recording, talking
from tests.media import write_video
from tests.motions import neutral_arrays


def test_a_file_is_converted_and_described(tmp_path):
    np.savez(tmp_path / "wave.npz", **neutral_arrays(50))
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "wave.npz"), str(tmp_path / "wave.safetensors")])
    assert result.exit_code == 0
    assert "50 frames, 2.00 s at 25/s, 21 keypoints" in result.stdout
    assert len(load_motion(tmp_path / "wave.safetensors").motion) == 50


def test_a_motion_file_is_not_replaced_by_its_conversion(tmp_path):
    """LivePortrait's files hold ratios, which a conversion drops."""
    np.savez(tmp_path / "wave.npz", **neutral_arrays(50))
    (tmp_path / "link.npz").symlink_to("wave.npz")
    before = (tmp_path / "wave.npz").read_bytes()
    for name in ("wave.npz", "link.npz"):
        error = CliRunner().invoke(app, ["convert", str(tmp_path / "wave.npz"), str(tmp_path / name)]).exception
        assert isinstance(error, OutputError)
        assert error.code == "output_is_input"
    assert (tmp_path / "wave.npz").read_bytes() == before


def test_a_video_is_not_replaced_by_its_sound(tmp_path):
    video = tmp_path / "talk.ogg"
    video.write_bytes(b"video")
    error = CliRunner().invoke(
        app, ["extract", str(video), "-o", str(tmp_path / "m.safetensors"), "--sound", str(video)]
    )
    assert isinstance(error.exception, OutputError)
    assert error.exception.code == "output_is_input"


def test_an_invalid_file_is_an_error(tmp_path):
    (tmp_path / "no.npz").write_text("no motion")
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "no.npz"), str(tmp_path / "out.npz")])
    assert isinstance(result.exception, InputError)
    with pytest.raises(InputError, match="motion_unreadable"):
        raise result.exception


@pytest.mark.parametrize("name", ["m.npy", "m", "missing/m.npz"])
def test_a_name_without_a_format_is_an_error(tmp_path, name):
    np.savez(tmp_path / "wave.npz", **neutral_arrays(5))
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "wave.npz"), str(tmp_path / name)])
    assert "output_unwritable" in str(result.exception)
    assert not (tmp_path / name).exists()


def test_motion_and_sound_of_a_video_are_written(tmp_path):
    video = recording(tmp_path / "talk.mp4", talking(20))
    out, sound = tmp_path / "talk.safetensors", tmp_path / "talk.wav"
    result = CliRunner().invoke(app, ["extract", str(video), "-o", str(out), "--sound", str(sound)])
    assert result.exit_code == 0, result.exception
    assert f"{out}: 20 frames, 0.80 s at 25/s, 21 keypoints" in result.stdout
    file = load_motion(out)
    assert file.provenance["source"] == "video"
    assert len(file.motion) == 20
    assert len(load_audio(sound)) == pytest.approx(0.8 * 16_000, abs=640)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("--sound", "talk.txt"), "output_unwritable"), (("--sound", "talk.wav"), "sound_missing")],
)
def test_sound_that_cannot_be_written_is_an_error_before_the_work(tmp_path, arguments, error):
    write_video(tmp_path / "talk.mp4", talking(5))
    out = tmp_path / "talk.safetensors"
    command = ["extract", str(tmp_path / "talk.mp4"), "-o", str(out), arguments[0], str(tmp_path / arguments[1])]
    assert error in str(CliRunner().invoke(app, command).exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("video", "out", "error"),
    [
        ("missing.mp4", "m.safetensors", "video_missing"),
        ("talk.mp4", "missing/m.safetensors", "output_unwritable"),
        ("talk.mp4", "m.npz", "output_unwritable"),
    ],
)
def test_files_are_checked_before_models(tmp_path, video, out, error):
    (tmp_path / "talk.mp4").write_bytes(b"video")
    command = ["extract", str(tmp_path / video), "-o", str(tmp_path / out), "--models", "/no/bundle"]
    assert error in str(CliRunner().invoke(app, command).exception)


def test_an_address_is_no_motion_file(tmp_path):
    for files in (["http://host/m.npz", str(tmp_path / "m.safetensors")], [str(tmp_path / "m.npz"), "s3://b/m.npz"]):
        error = CliRunner().invoke(app, ["convert", *files]).exception
        assert isinstance(error, InputError)
        assert error.code == "path_remote"
