"""Correlation of mouth and sound, and beat alignment, on synthetic series."""

import numpy as np
import pytest

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.beat import beat_alignment, sound_beats
from joyvasa.metrics.mouth_sound import MAX_LAG, MouthSoundMetric, best_correlation
from joyvasa.metrics.support.sound import FLOOR, RATE, read_soundtrack
from tests.joyvasa.metrics.clips import make_clip, make_speaking_motion, moving_noise, syllables
from tests.media import ffmpeg, write_tone


@pytest.mark.parametrize("lag", [0, 5, -5, MAX_LAG, -MAX_LAG])
def test_the_lag_has_the_right_sign(lag):
    series = syllables(400)
    mouth, level = series[50 : 50 + 300], series[50 + lag : 50 + lag + 300]  # the mouth is `lag` frames behind
    assert best_correlation(mouth, level) == (pytest.approx(1), lag)


def test_unrelated_series_have_low_correlation_at_the_best_lag():
    best = [best_correlation(syllables(500, 2 * seed), syllables(500, 2 * seed + 1))[0] for seed in range(20)]
    assert 0 < np.mean(best) < 0.3


@pytest.mark.parametrize("fault", ["mouth", "level"])
def test_constant_series_have_no_correlation(fault):
    series = {"mouth": syllables(200), "level": syllables(200, 1), fault: np.full(200, 0.3)}
    reason = best_correlation(series["mouth"], series["level"])
    assert isinstance(reason, NotMeasured)
    assert reason.code == "nothing_moves"


def test_a_short_clip_has_no_correlation():
    assert best_correlation(syllables(70), syllables(70)).code == "too_short"


def test_a_mouth_that_follows_the_sound_of_the_file(tmp_path):
    sound = write_gated_tone(tmp_path / "sound.wav", 6.0)
    opening = 0.2 + 0.1 * (np.arange(150) % 25 < 12)
    clip = make_clip(moving_noise(1), has_sound=True, motion=make_speaking_motion(np.roll(opening, 3)))
    object.__setattr__(clip, "video", sound)
    measurement = MouthSoundMetric().start(clip)
    values = measurement.finish()
    assert values["mouth_sound_lag"] == 3
    assert values["mouth_sound_correlation"] > 0.95
    pair = measurement.features()["mouth_sound"]
    assert pair.shape == (2, 150)
    assert best_correlation(*pair)[1] == 3


def test_a_motion_is_resampled_to_the_rate_of_the_sound(tmp_path):
    sound = write_gated_tone(tmp_path / "sound.wav", 6.0)
    opening = 0.2 + 0.1 * (np.arange(360) % 60 < 29)
    clip = make_clip(moving_noise(1), has_sound=True, motion=make_speaking_motion(opening, rate=60.0))
    object.__setattr__(clip, "video", sound)
    assert MouthSoundMetric().start(clip).finish()["mouth_sound_lag"] == 0


def test_level_and_length_of_a_sound(tmp_path):
    track = read_soundtrack(write_tone(tmp_path / "tone.wav", seconds=10.3, volume=0.5))
    assert track.n_samples == round(10.3 * SAMPLE_RATE)
    assert len(track.level) == len(track.onset_strength) == -(-track.n_samples * RATE // SAMPLE_RATE)
    np.testing.assert_allclose(track.level[1:-1], 20 * np.log10(0.5 / np.sqrt(2)), atol=0.1)


def test_silence_has_the_lowest_level_and_no_onset(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "5", tmp_path / "silence.wav")
    track = read_soundtrack(tmp_path / "silence.wav")
    np.testing.assert_allclose(track.level, 20 * np.log10(FLOOR))
    assert not len(sound_beats(track.onset_strength))


def test_onsets_are_at_the_starts_of_sounds(tmp_path):
    gate = "volume='exp(-6*mod(t,1))':eval=frame"
    source = f"sine=frequency=300:sample_rate=16000:duration=8,asetnsamples=64,{gate}"
    ffmpeg("-f", "lavfi", "-i", source, tmp_path / "strokes.wav")
    beats = sound_beats(read_soundtrack(tmp_path / "strokes.wav").onset_strength)
    np.testing.assert_array_equal(beats, np.arange(8) * RATE)


def test_beats_that_coincide_score_1_and_far_ones_0():
    beats = np.array([10, 40, 70])
    assert beat_alignment(beats, beats) == 1
    assert beat_alignment(np.array([10, 20]), np.array([0, 14, 16, 23])) == pytest.approx(
        np.exp(-(np.array([10, 4, 4, 3]) ** 2) / 18).mean()
    )
    assert beat_alignment(beats, beats + 3) == pytest.approx(np.exp(-0.5))
    assert beat_alignment(beats, np.array([1000])) == pytest.approx(0)
    assert beat_alignment(beats, np.zeros(0)) is None


def write_gated_tone(path, seconds):
    """Write a tone that is loud in the first half of each second."""
    gate = "volume='if(lt(mod(t,1),0.48),1,0.001)':eval=frame"
    source = f"sine=frequency=300:sample_rate=16000:duration={seconds},asetnsamples=64,{gate}"
    ffmpeg("-f", "lavfi", "-i", source, path)
    return path
