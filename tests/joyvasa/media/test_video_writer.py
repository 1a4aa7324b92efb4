import os
from pathlib import Path

import numpy as np
import pytest

from joyvasa.errors import ConfigError, EnvironmentFault, OutputError
from joyvasa.media.audio import load_audio
from joyvasa.media.ffmpeg import list_streams
from joyvasa.media.video_writer import QUEUED_BATCHES, EncodingConfig, VideoWriter, check_encoder, check_output_path
from tests.media import read_frames, small_disk, write_tone

SIZE = {"width": 64, "height": 48, "frames_per_second": 25}


def gray_ramp(n_frames: int) -> np.ndarray:
    levels = np.linspace(30, 220, n_frames).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (n_frames, 48, 64, 3)).copy()


def test_frames_have_their_order_and_colors(tmp_path):
    frames = gray_ramp(30)
    frames[:, :24] = (200, 40, 60)
    with VideoWriter(tmp_path / "out.mp4", n_frames=30, **SIZE) as writer:
        for start in range(0, 30, 7):
            writer.write(frames[start : start + 7])
    read = read_frames(tmp_path / "out.mp4")
    assert read.shape == frames.shape
    assert np.abs(read[:, 34:].astype(int) - frames[:, 34:]).max() <= 4
    assert np.abs(read[:, 4:14, 8:-8].mean((0, 1, 2)) - (200, 40, 60)).max() <= 4
    assert list_streams(tmp_path / "out.mp4") == ["video/h264"]


@pytest.mark.parametrize("sound_s", [0.4, 1.0, 5.0])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sound_is_truncated_or_padded_to_the_length_of_the_picture(tmp_path, sound_s, channels):
    sound = write_tone(tmp_path / "tone.wav", seconds=sound_s, rate=44_100, channels=channels)
    with VideoWriter(tmp_path / "out.mp4", n_frames=50, sound=sound, **SIZE) as writer:
        writer.write(gray_ramp(50))
    assert len(read_frames(tmp_path / "out.mp4")) == 50
    waveform = load_audio(tmp_path / "out.mp4")
    assert len(waveform) / 16_000 == pytest.approx(50 / 25, abs=1 / 25)
    audible_s = np.flatnonzero(np.abs(waveform) > 0.1)[[0, -1]] / 16_000
    assert audible_s == pytest.approx([0, min(sound_s, 2.0)], abs=0.03)
    assert list_streams(tmp_path / "out.mp4") == ["video/h264", "audio/aac"]


def test_finished_file_has_ordinary_permissions_and_its_tags(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", n_frames=5, metadata={"comment": "a=b; c"}, **SIZE) as writer:
        writer.write(gray_ramp(5))
    assert (tmp_path / "out.mp4").stat().st_mode & 0o444 == 0o444
    assert b"a=b; c" in (tmp_path / "out.mp4").read_bytes()
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_an_error_while_rendering_leaves_no_file(tmp_path):
    def fail_after_some_frames():
        with VideoWriter(tmp_path / "out.mp4", n_frames=50, **SIZE) as writer:
            writer.write(gray_ramp(10))
            raise RuntimeError("renderer")

    with pytest.raises(RuntimeError, match="renderer"):
        fail_after_some_frames()
    assert os.listdir(tmp_path) == []


def test_an_existing_video_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"older")
    with VideoWriter(tmp_path / "out.mp4", n_frames=5, **SIZE) as writer:
        writer.write(gray_ramp(5))
        assert (tmp_path / "out.mp4").read_bytes() == b"older"
    assert len(read_frames(tmp_path / "out.mp4")) == 5


def test_memory_is_bounded_by_the_queue(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", n_frames=400, **SIZE) as writer:
        for _ in range(40):
            writer.write(gray_ramp(10))
            assert writer._queue.qsize() <= QUEUED_BATCHES
    assert len(read_frames(tmp_path / "out.mp4")) == 400


def write_noise(folder: Path, batches: int = 40) -> None:
    noise = np.random.default_rng(0)
    with VideoWriter(folder / "out.mp4", n_frames=batches * 10, width=256, height=256, frames_per_second=25) as writer:
        for _ in range(batches):
            writer.write(noise.integers(0, 255, (10, 256, 256, 3), np.uint8))


def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        with pytest.raises(OutputError, match=r"disk_full: .*out\.mp4: no space left"):
            write_noise(folder)
        assert os.listdir(folder) == []


def test_a_read_only_folder_is_reported_before_rendering(tmp_path):
    with small_disk(tmp_path / "disk", "ro") as folder, pytest.raises(OutputError, match="output_unwritable"):
        VideoWriter(folder / "out.mp4", n_frames=5, **SIZE)


@pytest.mark.parametrize("name", ["no/such/folder/out.mp4", "plain.txt/out.mp4", "."])
def test_invalid_paths_are_reported(tmp_path, name):
    (tmp_path / "plain.txt").touch()
    with pytest.raises(OutputError, match="output_unwritable"):
        VideoWriter(tmp_path / name, n_frames=5, **SIZE)


def test_a_folder_is_no_name_of_a_video(tmp_path):
    with pytest.raises(OutputError, match=r"is a folder; expected a file such as .*/out\.mp4"):
        check_output_path(tmp_path)


def test_a_dead_encoder_is_an_error_not_a_hang(tmp_path):
    def write_to_a_dead_encoder():
        with VideoWriter(tmp_path / "out.mp4", n_frames=5000, **SIZE) as writer:
            writer._encoder.kill()
            for _ in range(100):
                writer.write(gray_ramp(10))

    with pytest.raises(OutputError, match="encoding_failed"):
        write_to_a_dead_encoder()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "options",
    [{"crf": 52}, {"crf": -1}, {"preset": "quick"}, {"audio_bitrate_k": 0}, {"threads": -1}, {"encoder": "gif"}],
)
def test_invalid_compression_is_rejected(options):
    with pytest.raises(ConfigError, match="config_invalid"):
        EncodingConfig(**options)


def fake_ffmpeg(folder, monkeypatch, script):
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr("joyvasa.media.ffmpeg.ffmpeg_executable", lambda: str(path))


def test_a_missing_encoder_is_reported_first(tmp_path, monkeypatch):
    fake_ffmpeg(tmp_path, monkeypatch, "echo '[h264_nvenc] Cannot load libcuda.so.1' >&2; echo more >&2; exit 1")
    with pytest.raises(EnvironmentFault, match=r"encoder_unavailable: .*Cannot load libcuda.so.1\).*use encoding.enc"):
        check_encoder(EncodingConfig(encoder="nvenc"))
    check_encoder(EncodingConfig())


def nvenc_arguments(folder, monkeypatch, crf):
    """Return the command lines of the probe and of a video of one frame, for a stand-in for ffmpeg."""
    fake_ffmpeg(folder, monkeypatch, f'echo "$@" >> {folder}/arguments; cat > /dev/null')
    config = EncodingConfig(encoder="nvenc", crf=crf)
    check_encoder(config)
    with VideoWriter(folder / "a.mp4", width=8, height=8, frames_per_second=25, n_frames=1, config=config) as writer:
        writer.write(np.zeros((1, 8, 8, 3), np.uint8))
    return [line.split() for line in (folder / "arguments").read_text().splitlines()]


def test_nvenc_gets_its_own_options(tmp_path, monkeypatch):
    probe, arguments = nvenc_arguments(tmp_path, monkeypatch, crf=21)
    assert probe[probe.index("-c:v") + 1] == "h264_nvenc"
    assert arguments[arguments.index("-vcodec") + 1] == "h264_nvenc"
    assert arguments[arguments.index("-cq") + 1] == "21"
    assert "-crf" not in arguments


def test_quality_0_is_lossless_with_nvenc_too(tmp_path, monkeypatch):
    _, arguments = nvenc_arguments(tmp_path, monkeypatch, crf=0)
    assert arguments[arguments.index("-tune") + 1] == "lossless"
    assert "-cq" not in arguments  # 0 would let the encoder choose the quality
