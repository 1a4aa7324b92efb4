from pathlib import Path

import numpy as np
import pytest

from joyvasa.errors import EnvironmentFault, InputError
from joyvasa.media.audio import SAMPLE_RATE, load_audio, probe_audio, stream_audio, stream_normalized
from tests.joyvasa.media.bad_sounds import (
    a_folder,
    concat_script,
    digital_silence,
    empty,
    integers_as_floats,
    missing,
    nan_samples,
    playlist,
    text,
    twenty_milliseconds,
    video_without_sound,
    write_float_wav,
    zero_length,
)
from tests.media import MORE_MEDIA, ffmpeg, needs_more_media, write_tone


@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac", "ogg", "m4a", "mkv"])
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (44_100, 2), (48_000, 6)])
def test_any_format_rate_and_channel_count_becomes_16_khz_mono(tmp_path, suffix, rate, channels):
    if suffix == "mp3" and channels > 2:
        channels = 2
    path = write_tone(tmp_path / f"tone.{suffix}", seconds=1.5, rate=rate, channels=channels)
    waveform = load_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) / SAMPLE_RATE == pytest.approx(1.5, abs=0.08)  # lossy codecs add their delay
    spectrum = np.abs(np.fft.rfft(waveform))
    assert spectrum.argmax() * SAMPLE_RATE / len(waveform) == pytest.approx(220, abs=2)


def test_stream_and_probe_agree_on_the_length(tmp_path):
    path = write_tone(tmp_path / "tone.wav", seconds=9.37, rate=44_100)
    blocks = list(stream_audio(path))
    assert len(blocks) > 2
    assert sum(map(len, blocks)) == probe_audio(path).n_samples
    assert max(map(len, blocks)) <= 5 * SAMPLE_RATE


def test_normalized_sound_has_zero_mean_and_unit_variance(tmp_path):
    wave = 0.3 + 0.1 * np.sin(np.arange(5 * SAMPLE_RATE) / 20)
    waveform = np.concatenate(list(stream_normalized(write_float_wav(tmp_path / "offset.wav", wave))))
    expected = (wave - wave.mean()) / (wave.std() + 1e-5)
    assert np.abs(waveform - expected).max() < 1e-4


@needs_more_media
@pytest.mark.media
def test_real_recordings_have_their_known_lengths():
    durations = [probe_audio(MORE_MEDIA / f"speech/joyvasa_00{i}.wav").duration_s for i in (1, 2, 3)]
    assert durations == pytest.approx([20.0, 4.25, 12.75], abs=0.01)


def test_sound_of_a_video_is_read(tmp_path):
    path = tmp_path / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=25", "-f", "lavfi", "-i", "sine=d=1,volume=4", path)
    assert probe_audio(path).duration_s == pytest.approx(1.0, abs=0.08)


BAD = [
    (missing, "audio_missing", "no such file"),
    (empty, "audio_empty", "0 bytes"),
    (a_folder, "audio_unreadable", "not a regular file"),
    (text, "audio_unreadable", "no media"),
    (playlist, "audio_unreadable", "playlist"),
    (concat_script, "audio_unreadable", "playlist"),
    (video_without_sound, "audio_unreadable", "found: video/h264"),
    (zero_length, "audio_too_short", "0 ms"),
    (twenty_milliseconds, "audio_too_short", "20 ms"),
    (digital_silence, "audio_silent", "digital zero"),
    (nan_samples, "audio_not_finite", "NaN"),
    (integers_as_floats, "audio_out_of_range", "20000"),
]


@pytest.mark.parametrize(("make", "code", "words"), BAD, ids=[make.__name__ for make, *_ in BAD])
def test_invalid_sound_gives_one_sentence_with_file_and_reason(tmp_path, make, code, words):
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        probe_audio(path)
    assert caught.value.code == code
    assert words in caught.value.sentence
    assert str(path) in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_silence_is_accepted_if_allowed(tmp_path):
    assert probe_audio(digital_silence(tmp_path), allow_silence=True).peak == 0


@pytest.mark.parametrize("name", ["-i.wav", "concat:a|b.wav", "100%d.wav", "späße 你好.wav", "a b'c\".wav"])
def test_hostile_file_names_are_read(tmp_path, name):
    write_tone(tmp_path / "plain.wav").rename(tmp_path / name)
    assert probe_audio(tmp_path / name).duration_s == pytest.approx(1.0)


def test_relative_name_that_looks_like_an_option_is_read(tmp_path, monkeypatch):
    write_tone(tmp_path / "plain.wav").rename(tmp_path / "-y.wav")
    monkeypatch.chdir(tmp_path)
    assert probe_audio("-y.wav").n_samples == SAMPLE_RATE


def test_a_missing_ffmpeg_is_reported(tmp_path, monkeypatch):
    path = write_float_wav(tmp_path / "tone.wav", np.sin(np.arange(SAMPLE_RATE) / 20))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(EnvironmentFault, match=r"ffmpeg_missing.*pip install imageio-ffmpeg"):
        probe_audio(path)


def list_children():
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


def test_closing_a_stream_early_leaves_no_process(tmp_path):
    path = write_tone(tmp_path / "tone.wav", seconds=60, rate=48_000)
    before = list_children()
    blocks = stream_audio(path)
    next(blocks)
    assert list_children() > before
    blocks.close()
    assert list_children() == before


@pytest.mark.parametrize("rate", [4, 500_000_000])
def test_an_invalid_rate_is_rejected_without_allocation(tmp_path, rate):
    path = write_float_wav(tmp_path / "fast.wav", np.sin(np.arange(SAMPLE_RATE) / 20), rate=rate)
    with pytest.raises(InputError, match=rf"audio_unreadable.*claims {rate} Hz"):
        probe_audio(path)


@pytest.mark.parametrize("name", ["x" * 5000 + ".wav", "null\0.wav"])
def test_invalid_names_are_input_errors(tmp_path, name):
    with pytest.raises(InputError, match="audio_"):
        probe_audio(tmp_path / name)
