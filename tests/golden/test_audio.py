"""Decoding equals librosa's loader (soxr HQ)."""

import wave

import numpy as np

from joyvasa.media.audio import load_audio, probe_audio
from tests.golden.reference import Section


def test_a_44k_stereo_file_is_loaded_as_by_librosa(tmp_path):
    section = Section("audio")
    stereo = np.stack([section.input("wav44"), section.input("wav44_right")], axis=1)
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(np.rint(stereo * 32767).astype("<i2").tobytes())

    waveform = load_audio(path)

    section.check("librosa_16k_len", len(waveform), 0)
    section.check("librosa_16k", waveform, 1e-5)
    assert probe_audio(path).n_samples == len(waveform)
