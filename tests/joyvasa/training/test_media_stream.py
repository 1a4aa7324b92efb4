"""Picture and sound of recordings stay in step, and memory stays bounded."""

import numpy as np
import pytest
from scipy.io import wavfile

from joyvasa.errors import InputError
from joyvasa.media.video_reader import probe_video
from joyvasa.training import media_stream
from joyvasa.training.clip_config import SAMPLES_PER_FRAME, ClipConfig
from joyvasa.training.media_stream import FrameStream, SoundStream, measure_windows, sound_delay_s
from tests.joyvasa.media.test_video_reader import write
from tests.joyvasa.training.recordings import recording, talking
from tests.media import ffmpeg


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return recording(tmp_path_factory.mktemp("footage") / "face.mp4", talking(60))


def test_the_sound_of_a_plain_file_begins_with_its_picture(video):
    assert sound_delay_s(video) == pytest.approx(0, abs=0.025)


FLASH_S = 1.2  # when the flash and the click of a planted recording are, in time of the file


def planted(path, *, picture_s, sound_s):
    """A recording whose picture and sound begin at these times, with a flash and a click at one time."""
    frames = np.zeros((75, 64, 64, 3), np.uint8)
    frames[round((FLASH_S - picture_s) * 25)] = 255
    silent, wav = path.with_suffix(".mp4"), path.with_suffix(".wav")
    write(silent, frames)
    samples = np.zeros(48_000, np.int16)
    samples[round((FLASH_S - sound_s) * 16_000) :][:160] = 20_000
    wavfile.write(wav, 16_000, samples)
    inputs = ["-itsoffset", picture_s, "-i", silent, "-itsoffset", sound_s, "-i", wav]
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le", path)
    return path


@pytest.mark.parametrize(("picture_s", "sound_s"), [(0, 0), (0, 0.4), (0.4, 0), (0.8, 0.4)])
def test_a_flash_and_a_click_at_one_time_stay_together(tmp_path, picture_s, sound_s):
    path = planted(tmp_path / "planted.mkv", picture_s=picture_s, sound_s=sound_s)
    delay = sound_delay_s(path)
    begin = min(picture_s, sound_s)  # time 0 of the file
    assert delay == pytest.approx(sound_s - begin, abs=0.002)
    brightness = [frame.mean() for frame in FrameStream(path, probe_video(path))]
    flash = int(np.argmax(brightness))
    click = int(np.argmax(np.abs(SoundStream(path, delay).take(48_000)) > 0.3))
    assert flash == round((FLASH_S - begin) * 25)
    assert click == pytest.approx(flash * SAMPLES_PER_FRAME, abs=40)


def test_times_with_an_exponent_are_read():
    told = "[Parsed_ashowinfo_0 @ 0x55] n:0 pts:1 pts_time:2.08333e-05 fmt:s16"
    assert float(media_stream._START.search(told)[1]) == pytest.approx(2.08333e-05)


def test_sound_is_read_in_any_pieces_alike(video):
    whole = SoundStream(video, 0.0).take(30_000)
    sound, parts = SoundStream(video, 0.0), []
    while sound.position < 30_000:
        parts.append(sound.take(min(701, 30_000 - sound.position)))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    sound = SoundStream(video, 0.0)
    sound.skip(12_345)
    np.testing.assert_array_equal(sound.take(100), whole[12_345:12_445])


def test_a_file_that_claims_a_huge_delay_costs_no_memory(video):
    assert not SoundStream(video, 1e9).take(16_000).any()


def test_frames_are_taken_forwards_and_a_video_that_became_shorter_is_told(video):
    info = probe_video(video)
    everything = list(FrameStream(video, info))
    assert len(everything) == 60
    picture = FrameStream(video, info)
    np.testing.assert_array_equal(np.stack(list(picture.take(10, 5))), everything[10:15])
    np.testing.assert_array_equal(np.stack(list(picture.take(20, 2))), everything[20:22])
    with pytest.raises(InputError, match="video_unreadable"):
        list(picture.take(50, 20))


def test_a_recording_is_measured_at_25_frames_a_second(tmp_path):
    path = recording(tmp_path / "fast.mp4", talking(60), rate=50.0, sound_s=0.8)
    (window,) = measure_windows(path, probe_video(path), None, ClipConfig(), delay_s=0.0, min_side=48)
    assert len(window) == 30
    assert [look.frame for look in window.looks] == [0, 5, 10, 15, 20, 25]
    heard = 16_000 * 0.8 / SAMPLES_PER_FRAME
    assert np.isfinite(window.peaks[: int(heard) - 1]).all()
    assert np.isnan(window.peaks[int(heard) + 3 :]).all()


def test_long_recordings_come_in_windows_of_bounded_length(video, monkeypatch):
    monkeypatch.setattr(footage, "WINDOW_S", 1)
    windows = list(measure_windows(video, probe_video(video), None, ClipConfig(), delay_s=0.0, min_side=48))
    assert [(one.first, len(one)) for one in windows] == [(0, 25), (25, 25), (50, 10)]
    assert [one.looks[0].frame for one in windows] == [0, 25, 50]
    monkeypatch.setattr(footage, "WINDOW_S", 600)
    (whole,) = measure_windows(video, probe_video(video), None, ClipConfig(), delay_s=0.0, min_side=48)
    np.testing.assert_array_equal(np.concatenate([one.changes for one in windows]), whole.changes)
    np.testing.assert_array_equal(np.concatenate([one.peaks for one in windows]), whole.peaks)
