import os
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.media.video_reader import VideoInfo, probe_video, stream_video
from tests.media import DATA, MEDIA, NOISE_FRAMES, ffmpeg, write_tone, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4")


def test_properties_of_a_file_are_read(video, tmp_path):
    assert probe_video(video) == VideoInfo(96, 64, Fraction(25), False, 1.2)
    with_sound = write_video(tmp_path / "sound.mp4", rate=30000 / 1001, sound=write_tone(tmp_path / "tone.wav"))
    info = probe_video(with_sound)
    assert info.has_sound
    assert float(info.frames_per_second) == pytest.approx(30000 / 1001, abs=1e-3)


@pytest.mark.parametrize("batch", [1, 7, 30, 64])
def test_frames_are_read_in_order_and_in_batches(video, batch):
    batches = list(stream_video(video, batch_frames=batch))
    assert [len(frames) for frames in batches[:-1]] == [batch] * (len(batches) - 1)
    frames = np.concatenate(batches)
    assert frames.shape == NOISE_FRAMES.shape
    assert frames.dtype == np.uint8
    assert not batches[0].flags.writeable
    assert np.abs(frames.astype(int) - NOISE_FRAMES).mean() < 6  # compression noise


def test_large_frames_come_in_smaller_batches(video, monkeypatch):
    whole = np.concatenate([*stream_video(video)])
    for n_bytes, expected in ((3 * whole[0].nbytes, 3), (1, 1)):
        monkeypatch.setattr("joyvasa.media.video_reader.BATCH_BYTES", n_bytes)
        batches = [*stream_video(video)]
        assert max(map(len, batches)) == expected
        np.testing.assert_array_equal(np.concatenate(batches), whole)


def test_known_properties_are_not_read_again(video, monkeypatch):
    info = probe_video(video)
    monkeypatch.setattr("joyvasa.media.video_reader.probe_video", lambda path: pytest.fail("read again"))
    assert sum(map(len, stream_video(video, info=info))) == len(NOISE_FRAMES)


def test_another_rate_repeats_or_drops_frames_and_another_size_scales(video):
    assert sum(map(len, stream_video(video, frames_per_second=50))) == pytest.approx(60, abs=1)
    assert sum(map(len, stream_video(video, frames_per_second=12.5))) == pytest.approx(15, abs=1)
    assert next(iter(stream_video(video, size=(48, 32)))).shape[1:] == (32, 48, 3)


def test_rotation_metadata_are_applied(video, tmp_path):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", video, "-c", "copy", turned)
    assert (probe_video(turned).width, probe_video(turned).height) == (64, 96)
    assert next(iter(stream_video(turned))).shape[1:] == (96, 64, 3)


def test_odd_sides_are_read(tmp_path):
    path = tmp_path / "odd.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=97x63:rate=10:duration=1", "-c:v", "ffv1", path)
    assert probe_video(path) == VideoInfo(97, 63, Fraction(10), False, 1.0)
    assert np.concatenate(list(stream_video(path))).shape == (10, 63, 97, 3)


def test_closing_a_stream_early_ends_its_decoder(video, monkeypatch):
    started = []
    popen = subprocess.Popen

    def remember(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    frames = stream_video(video, info=probe_video(video), batch_frames=1)
    next(frames)
    frames.close()
    assert all(process.returncode is not None for process in started)


def test_files_that_are_not_videos_are_rejected_with_the_reason(video, tmp_path):
    empty, text, playlist = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "list.mp4"
    empty.touch()
    text.write_text("no video")
    playlist.write_text("#EXTM3U\n/etc/passwd\n")
    os.mkfifo(tmp_path / "pipe.mp4")
    sound = write_tone(tmp_path / "sound.wav")
    for path, code in (
        (tmp_path / "none.mp4", "video_missing"),
        (tmp_path, "video_unreadable"),
        (tmp_path / "pipe.mp4", "video_unreadable"),
        (empty, "video_empty"),
        (text, "video_unreadable"),
        (playlist, "video_unreadable"),
        (sound, "video_unreadable"),
        (DATA / "portrait.jpg", "video_unreadable"),
    ):
        with pytest.raises(InputError, match=f"{code}: {path}"):
            probe_video(path)
        with pytest.raises(InputError, match=f"{code}: {path}"):
            list(stream_video(path))


def test_a_truncated_file_is_an_error(video, tmp_path):
    truncated = tmp_path / "truncated.mp4"
    content = video.read_bytes()
    truncated.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match="video_unreadable"):
        list(stream_video(truncated))


def test_names_that_look_like_options_or_protocols_are_files(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mp4", "concat:a|b.mp4"):
        (tmp_path / name).write_bytes(video.read_bytes())
        assert probe_video(name).width == 96


def test_frames_of_pixels_that_are_not_square_are_read_as_they_are_shown(video, tmp_path):
    anamorphic = tmp_path / "anamorphic.mp4"
    ffmpeg("-i", video, "-vf", "setsar=4/3", anamorphic)
    info = probe_video(anamorphic)
    assert (info.width, info.height) == (128, 64)
    assert next(iter(stream_video(anamorphic))).shape[1:] == (64, 128, 3)


def test_the_clock_of_a_browser_recording_is_not_its_frame_rate():
    recorded = MEDIA / "faults/browser.webm"  # without a frame rate; its timestamps count milliseconds
    assert float(probe_video(recorded).frames_per_second) == pytest.approx(29.7, abs=0.3)
    assert sum(map(len, stream_video(recorded))) == 24


@pytest.mark.parametrize(("rate", "words"), [("1200000:1", "1,200,000"), ("1:1000", "0.001")])
def test_a_rate_that_no_camera_has_is_refused(tmp_path, rate, words):
    path = tmp_path / "clip.y4m"
    path.write_bytes(f"YUV4MPEG2 W48 H32 F{rate} Ip A1:1 C420jpeg\nFRAME\n".encode() + bytes(48 * 32 * 3 // 2))
    with pytest.raises(InputError, match=rf"clip.y4m: {words} frames per second; expected 0.1 to 1,000: .*export it"):
        probe_video(path)


def test_a_jump_of_the_timestamps_by_a_day_is_refused_and_not_filled_with_frames(tmp_path):
    source = ("-f", "lavfi", "-i", "testsrc=size=48x32:rate=25:duration=0.4")
    ffmpeg(*source, "-vf", "setpts='PTS+gte(N,5)*86400/TB'", "-fps_mode", "vfr", tmp_path / "jump.mkv")
    with pytest.raises(InputError, match=r"jump.mkv: 0.0001 frames per second; expected 0.1 to 1,000"):
        probe_video(tmp_path / "jump.mkv")


def test_a_video_of_few_bytes_keeps_its_rate(tmp_path):
    source = ("-f", "lavfi", "-i", "color=black:size=48x32:rate=25:duration=2")
    ffmpeg(*source, "-vf", "setpts='PTS+gte(N,25)*60/TB'", "-fps_mode", "vfr", "-c:v", "mpeg4", tmp_path / "pause.mkv")
    assert probe_video(tmp_path / "pause.mkv").frames_per_second == 25
