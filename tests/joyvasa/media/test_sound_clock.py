"""The sound of a video is the sound that drives its motion, whatever the timestamps of the recording say."""

import re
import resource

import numpy as np
import pytest
from scipy.io import wavfile
from scipy.signal import correlate, fftconvolve

from joyvasa.errors import InputError
from joyvasa.media.audio import SAMPLE_RATE, load_audio, probe_audio
from joyvasa.media.video_writer import VideoWriter
from tests.child_process import run_in_child
from tests.media import MEDIA, ffmpeg

SPEECH = MEDIA / "speech/joyvasa_002.flac"
FRAME_S = 1 / 25  # duration of a motion frame


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """One recording with several faults of its timestamps or its data."""
    folder = tmp_path_factory.mktemp("recordings")
    picture = ["-f", "lavfi", "-i", "color=size=64x64:rate=25:duration=5.7"]
    ffmpeg(*picture, "-itsoffset", 1.5, "-i", SPEECH, "-map", "0:v", "-map", "1:a", folder / "late.mp4")
    ffmpeg("-i", SPEECH, folder / "whole.wma")
    ffmpeg("-i", SPEECH, "-c:a", "libopus", folder / "whole.webm")
    shift = "setts=ts=if(gte(TS*TB\\,1.5)\\,TS+0.6/TB\\,TS)"
    ffmpeg("-i", folder / "whole.webm", "-c", "copy", "-bsf:a", shift, folder / "hole.webm")
    ffmpeg("-i", SPEECH, folder / "whole.mp3")
    data = bytearray((folder / "whole.mp3").read_bytes())
    data[12_000:20_000] = bytes(8_000)
    (folder / "damaged.mp3").write_bytes(data)
    return folder


@pytest.mark.parametrize("name", ["late.mp4", "whole.wma", "hole.webm", "damaged.mp3"])
def test_a_video_plays_the_samples_that_drive_its_motion(recordings, tmp_path, name):
    driving = load_audio(recordings / name)
    n_frames = round(len(driving) / SAMPLE_RATE * 25)
    with VideoWriter(
        tmp_path / "video.mp4", width=64, height=64, frames_per_second=25, n_frames=n_frames, sound=recordings / name
    ) as writer:
        writer.write(np.zeros((n_frames, 64, 64, 3), np.uint8))
    heard = load_audio(tmp_path / "video.mp4")
    assert len(heard) == pytest.approx(len(driving), abs=FRAME_S * SAMPLE_RATE)

    third = len(driving) // 3
    for start in (0, third, 2 * third - 1000):  # a hole would delay only what follows it
        part = driving[start : start + third]
        energy = np.sqrt(fftconvolve(heard**2, np.ones(third), "valid").clip(min=0)) + 1e-6
        lag = int(np.argmax(correlate(heard, part, mode="valid") / energy)) - start
        assert abs(lag) <= FRAME_S * SAMPLE_RATE


@pytest.mark.parametrize(("name", "seconds"), [("late.mp4", 1.5), ("hole.webm", 0.6)])
def test_a_late_start_and_holes_are_warned_of_with_their_seconds(recordings, name, seconds):
    (warning,) = (w for w in probe_audio(recordings / name).warnings if w.code == "audio_gaps")
    found = re.search(r"its sound starts late or has holes, (\d+\.\d\d) s in all", warning.sentence)
    assert float(found[1]) == pytest.approx(seconds, abs=0.025)  # encoders begin a packet before the sound


def test_damage_is_warned_of(recordings):
    warnings = {warning.code: warning.sentence for warning in probe_audio(recordings / "damaged.mp3").warnings}
    assert "damaged or cut off" in warnings["audio_damaged"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "mp3", "opus", "ogg", "wma", "webm", "au", "caf", "w64"])
def test_a_recording_that_is_cut_off_is_warned_of_and_a_whole_one_is_not(tmp_path, suffix):
    whole, half = tmp_path / f"whole.{suffix}", tmp_path / f"half.{suffix}"
    ffmpeg("-i", SPEECH, whole)
    assert [warning for warning in probe_audio(whole).warnings if warning.code == "audio_damaged"] == []
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    info = probe_audio(half)
    (warning,) = (warning for warning in info.warnings if warning.code == "audio_damaged")
    assert f"{info.duration_s:.2f} s of sound" in warning.sentence


def test_chained_ogg_is_read_whole(tmp_path):
    for name, start in (("a.ogg", 0), ("b.ogg", 2)):
        ffmpeg("-ss", start, "-t", 2, "-i", SPEECH, tmp_path / name)
    chained = tmp_path / "chained.ogg"
    chained.write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    info = probe_audio(chained)
    assert info.duration_s == pytest.approx(4, abs=0.05)
    assert info.warnings == ()


def test_a_recording_with_parts_of_several_rates_has_one_length(tmp_path):
    for rate in (44_100, 22_050, 12_000):
        ffmpeg("-i", SPEECH, "-t", 1, "-ar", rate, tmp_path / f"{rate}.mp3")
    parts = [(tmp_path / f"{rate}.mp3").read_bytes() for rate in (44_100, 22_050, 12_000)]
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join(parts))
    info = probe_audio(joined)
    assert len(load_audio(joined)) == info.n_samples
    assert info.duration_s == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 9, 11, 13, 15, 16, 17, 24, 33, 64])
def test_any_number_of_channels_is_mixed_down(tmp_path, channels):
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (9000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
    path = tmp_path / "tone.wav"
    wavfile.write(path, SAMPLE_RATE, np.repeat(tone[:, None], channels, axis=1))
    assert probe_audio(path).channels == channels
    with VideoWriter(
        tmp_path / "video.mp4", width=64, height=64, frames_per_second=25, n_frames=25, sound=path,
        sound_channels=channels,
    ) as writer:  # fmt: skip
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
    assert probe_audio(tmp_path / "video.mp4").peak > 0.1


def test_channels_that_cancel_each_other_are_no_silence(tmp_path):
    wave = (9000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    wavfile.write(tmp_path / "inverted.wav", SAMPLE_RATE, np.stack([wave, -wave], axis=1))
    with pytest.raises(InputError, match="2 channels cancel each other"):
        probe_audio(tmp_path / "inverted.wav")


def probe_with_memory(path):
    warnings = probe_audio(path).warnings
    return [warning.code for warning in warnings], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


@pytest.mark.slow
def test_a_jump_of_timestamps_by_hours_takes_little_memory(tmp_path):
    """Filled with silence in one block, nine hours would be over 3 GiB."""
    path = tmp_path / "jump.mka"
    source = ["-f", "lavfi", "-i", "sine=frequency=220:sample_rate=48000:duration=1"]
    ffmpeg(*source, "-af", f"asetpts=PTS+gt(T\\,0.5)*{9 * 3600}/TB", "-c:a", "pcm_s16le", path)
    codes, memory = run_in_child(probe_with_memory, path)
    assert "audio_gaps" in codes
    assert memory < 1 << 30
