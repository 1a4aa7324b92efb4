import wave
from contextlib import nullcontext

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.media.pauses import Loudness, find_pieces, measure_loudness, write_pieces

RATE = 16_000


def write_speech(path, pauses, seconds, rate=RATE, channels=1):
    """Write noise with pauses of 0.4 s around the given times."""
    generator = np.random.default_rng(0)
    samples = generator.uniform(-0.5, 0.5, (round(seconds * rate), channels))
    for pause in pauses:
        samples[round((pause - 0.2) * rate) : round((pause + 0.2) * rate)] *= 0.001
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def read(path):
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return file.getframerate(), samples


def durations(pieces):
    return [piece.end_s - piece.start_s for piece in pieces]


def flat(seconds, level=0.1):
    """Return the loudness of a constant sound."""
    hops = round(seconds / 0.02)
    return Loudness(RATE, round(seconds * RATE), np.full(hops, level**2), np.full(hops, level))


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (11_025, 1)])
def test_cuts_are_in_the_middle_of_pauses(tmp_path, rate, channels):
    path = write_speech(tmp_path / "a.wav", [5.0, 9.5, 15.0], 20.0, rate, channels)
    pieces = find_pieces(measure_loudness(path), 4, 10)
    cuts = [piece.end_s for piece in pieces]
    assert cuts[-1] == pytest.approx(20.0, abs=0.03)
    assert all(min(abs(cut - pause) for pause in (5.0, 9.5, 15.0)) < 0.1 for cut in cuts[:-1])
    assert all(3.97 <= duration <= 10 for duration in durations(pieces))


def test_pieces_hold_the_samples_of_the_recording(tmp_path):
    path = write_speech(tmp_path / "a.wav", [3.0], 7.0, 44_100, 2)
    pieces = find_pieces(measure_loudness(path), 2, 5)
    write_pieces(path, pieces, lambda number: nullcontext(tmp_path / f"{number}.wav"))
    parts = [read(tmp_path / f"{number}.wav") for number in range(len(pieces))]
    _, whole = read(path)
    joined = np.concatenate([samples for _, samples in parts])
    assert {rate for rate, _ in parts} == {44_100}
    assert np.abs(joined.astype(int) - whole[: len(joined)]).max() <= 1
    assert len(whole) - len(joined) < 0.02 * 44_100


@pytest.mark.parametrize("seconds", [8.0, 8.5, 10.2, 12.0, 33.3, 100.0])
def test_all_pieces_have_the_length_asked_for(seconds):
    pieces = find_pieces(flat(seconds), 4, 10)
    assert all(4 - 1e-9 <= duration <= 10 + 1e-9 for duration in durations(pieces))
    assert sum(durations(pieces)) == pytest.approx(seconds, abs=0.02)


def test_a_rest_that_fits_no_piece_is_left_out_and_a_short_recording_has_none():
    assert sum(durations(find_pieces(flat(11.0), 6, 10))) < 11
    assert find_pieces(flat(3.9), 4, 10) == []
    assert durations(find_pieces(flat(4.0), 4, 10)) == [4.0]


def test_silent_pieces_are_left_out():
    assert find_pieces(flat(30, level=1e-4), 4, 10) == []
    assert find_pieces(flat(5, level=1e-4), 4, 10) == []


def test_a_file_without_sound_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="audio_unreadable"):
        measure_loudness(tmp_path / "a.wav")
