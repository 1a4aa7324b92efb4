"""Picture and sound of recordings stay in step, and memory stays bounded."""

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.training import footage
from joyvasa.training.clip_config import SAMPLES_PER_FRAME, ClipConfig
from joyvasa.training.footage import Picture, Sound, sound_delay_s, watch
from joyvasa.video_reader import probe_video
from tests.joyvasa.training.recordings import recording, talking
from tests.media import ffmpeg


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return recording(tmp_path_factory.mktemp("footage") / "face.mp4", talking(60))


def test_the_sound_of_a_plain_file_begins_with_its_picture(video):
    assert sound_delay_s(video) == pytest.approx(0, abs=0.025)


@pytest.mark.parametrize("delay_s", [0.4, -0.4])
def test_sound_that_begins_later_or_earlier_is_put_in_its_place(video, tmp_path, delay_s):
    shifted = tmp_path / "shifted.mkv"
    first, second = ("0:v", "1:a") if delay_s > 0 else ("1:v", "0:a")
    ffmpeg(
        "-i",
        video,
        "-itsoffset",
        abs(delay_s),
        "-i",
        video,
        "-map",
        first,
        "-map",
        second,
        "-c:v",
        "copy",
        "-c:a",
        "pcm_s16le",
        shifted,
    )
    delay = sound_delay_s(shifted)
    assert delay == pytest.approx(delay_s, abs=0.03)
    here = Sound(shifted, delay).take(16_000)
    plain = Sound(video, 0.0).take(32_000)
    if delay_s > 0:
        assert not here[:6000].any()
        assert np.abs(here[7000:]).max() > 0.3
    else:
        assert np.abs(here).max() > 0.3
        assert len(Sound(shifted, delay).take(100_000)) < len(Sound(video, 0).take(100_000)) - 5000
    assert len(plain) == 32_000


def test_sound_is_read_in_any_pieces_alike(video):
    whole = Sound(video, 0.0).take(30_000)
    sound, parts = Sound(video, 0.0), []
    while sound.position < 30_000:
        parts.append(sound.take(min(701, 30_000 - sound.position)))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    sound = Sound(video, 0.0)
    sound.skip(12_345)
    np.testing.assert_array_equal(sound.take(100), whole[12_345:12_445])


def test_a_file_that_claims_a_huge_delay_costs_no_memory(video):
    assert not Sound(video, 1e9).take(16_000).any()
    assert len(Sound(video, -1e9).take(16_000)) == 0


def test_frames_are_taken_forwards_and_a_video_that_became_shorter_is_told(video):
    info = probe_video(video)
    everything = list(Picture(video, info))
    assert len(everything) == 60
    picture = Picture(video, info)
    np.testing.assert_array_equal(np.stack(list(picture.take(10, 5))), everything[10:15])
    np.testing.assert_array_equal(np.stack(list(picture.take(20, 2))), everything[20:22])
    with pytest.raises(InputError, match="video_unreadable"):
        list(picture.take(50, 20))


def test_a_recording_is_measured_at_25_frames_a_second(tmp_path):
    path = recording(tmp_path / "fast.mp4", talking(60), rate=50.0, sound_s=0.8)
    (window,) = watch(path, probe_video(path), None, ClipConfig(), delay_s=0.0, min_side=48)
    assert len(window) == 30
    assert [look.frame for look in window.looks] == [0, 5, 10, 15, 20, 25]
    heard = 16_000 * 0.8 / SAMPLES_PER_FRAME
    assert np.isfinite(window.peaks[: int(heard) - 1]).all()
    assert np.isnan(window.peaks[int(heard) + 3 :]).all()


def test_long_recordings_come_in_windows_of_bounded_length(video, monkeypatch):
    monkeypatch.setattr(footage, "WINDOW_S", 1)
    windows = list(watch(video, probe_video(video), None, ClipConfig(), delay_s=0.0, min_side=48))
    assert [(one.first, len(one)) for one in windows] == [(0, 25), (25, 25), (50, 10)]
    assert [one.looks[0].frame for one in windows] == [0, 25, 50]
    monkeypatch.setattr(footage, "WINDOW_S", 600)
    (whole,) = watch(video, probe_video(video), None, ClipConfig(), delay_s=0.0, min_side=48)
    np.testing.assert_array_equal(np.concatenate([one.changes for one in windows]), whole.changes)
    np.testing.assert_array_equal(np.concatenate([one.peaks for one in windows]), whole.peaks)
