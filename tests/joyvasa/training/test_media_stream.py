"""Frames and sound of recordings stay synchronized, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from scipy.io import wavfile

from joyvasa.errors import InputError
from joyvasa.media.video_reader import probe_video
from joyvasa.training import media_stream
from joyvasa.training.clip_config import SAMPLES_PER_FRAME, ClipConfig
from joyvasa.training.media_stream import FrameStream, SoundStream, measure_windows
from tests.joyvasa.training.recordings import recording, talking
from tests.media import ffmpeg, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return recording(tmp_path_factory.mktemp("footage") / "face.mp4", talking(60))


FLASH_S = 1.2  # time of the flash and the click in the file


def write_flash_and_click(path, *, picture_s, sound_s):
    """Write a recording whose picture and sound start at these times, with a simultaneous flash and click."""
    frames = np.zeros((75, 64, 64, 3), np.uint8)
    frames[round((FLASH_S - picture_s) * 25)] = 255
    silent, wav = path.with_suffix(".mp4"), path.with_suffix(".wav")
    write_video(silent, frames)
    samples = np.zeros(48_000, np.int16)
    samples[round((FLASH_S - sound_s) * 16_000) :][:160] = 20_000
    wavfile.write(wav, 16_000, samples)
    inputs = ["-itsoffset", picture_s, "-i", silent, "-itsoffset", sound_s, "-i", wav]
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le", path)
    return path


@pytest.mark.parametrize(("picture_s", "sound_s"), [(0, 0), (0, 0.4), (0.4, 0), (0.8, 0.4)])
def test_a_simultaneous_flash_and_click_stay_together(tmp_path, picture_s, sound_s):
    path = write_flash_and_click(tmp_path / "flash.mkv", picture_s=picture_s, sound_s=sound_s)
    start = min(picture_s, sound_s)  # time 0 of the file
    brightness = [frame.mean() for frame in FrameStream(path, probe_video(path))]
    flash = int(np.argmax(brightness))
    click = int(np.argmax(np.abs(SoundStream(path).read(0, 48_000)) > 0.3))
    assert flash == round((FLASH_S - start) * 25)
    assert click == pytest.approx(flash * SAMPLES_PER_FRAME, abs=40)


def test_sound_does_not_depend_on_the_size_of_reads(video):
    whole = SoundStream(video).read(0, 30_000)
    sound = SoundStream(video)
    parts = [sound.read(first, min(701, 30_000 - first)) for first in range(0, 30_000, 701)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(SoundStream(video).read(12_345, 100), whole[12_345:12_445])


def test_a_hole_in_the_timestamps_of_the_sound_is_silence(tmp_path):
    path = write_flash_and_click(tmp_path / "flash.mkv", picture_s=0, sound_s=0)
    holed = tmp_path / "holed.mkv"
    ffmpeg("-i", path, "-c", "copy", "-bsf:a", "setts=ts=if(gte(TS*TB\\,0.8)\\,TS+0.5/TB\\,TS)", holed)
    click = int(np.argmax(np.abs(SoundStream(holed).read(0, 48_000)) > 0.3))
    assert click == pytest.approx((FLASH_S + 0.5) * 16_000, abs=40)


def test_a_file_that_claims_a_huge_delay_costs_no_memory(video, tmp_path):
    late = tmp_path / "late.mkv"
    ffmpeg("-i", video, "-itsoffset", 10_000, "-i", video, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    tracemalloc.start()
    assert not SoundStream(late).read(0, 16_000).any()
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_frames_are_read_forwards_and_a_video_that_became_shorter_is_an_error(video):
    info = probe_video(video)
    frames = list(FrameStream(video, info))
    assert len(frames) == 60
    stream = FrameStream(video, info)
    np.testing.assert_array_equal(np.stack(list(stream.read(10, 5))), frames[10:15])
    np.testing.assert_array_equal(np.stack(list(stream.read(20, 2))), frames[20:22])
    with pytest.raises(InputError, match="video_unreadable"):
        list(stream.read(50, 20))


def test_a_recording_is_measured_at_25_frames_per_second(tmp_path):
    path = recording(tmp_path / "fast.mp4", talking(60), rate=50.0, sound_s=0.8)
    (window,) = measure_windows(path, probe_video(path), None, ClipConfig(), min_side=48)
    assert len(window) == 30
    assert [item.frame for item in window.detections] == [0, 5, 10, 15, 20, 25]
    n_sound = int(16_000 * 0.8 / SAMPLES_PER_FRAME)
    assert np.isfinite(window.peaks[: n_sound - 1]).all()
    assert np.isnan(window.peaks[n_sound + 3 :]).all()


def test_long_recordings_come_in_windows_of_bounded_length(video, monkeypatch):
    monkeypatch.setattr(media_stream, "WINDOW_S", 1)
    windows = list(measure_windows(video, probe_video(video), None, ClipConfig(), min_side=48))
    assert [(window.first, len(window)) for window in windows] == [(0, 25), (25, 25), (50, 10)]
    assert [window.detections[0].frame for window in windows] == [0, 25, 50]
    monkeypatch.setattr(media_stream, "WINDOW_S", 600)
    (whole,) = measure_windows(video, probe_video(video), None, ClipConfig(), min_side=48)
    np.testing.assert_array_equal(np.concatenate([window.changes for window in windows]), whole.changes)
    np.testing.assert_array_equal(np.concatenate([window.peaks for window in windows]), whole.peaks)
