"""Files that are no usable recording; each function writes one and returns its path."""

import struct

import numpy as np

from joyvasa.media.audio import SAMPLE_RATE
from tests.media import ffmpeg, write_tone


def write_float_wav(path, samples, rate=SAMPLE_RATE):
    data = np.asarray(samples, "<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1, rate, rate * 4, 4, 32)
    path.write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)
    return path


def missing(folder):
    return folder / "none.wav"


def empty(folder):
    (folder / "empty.wav").touch()
    return folder / "empty.wav"


def a_folder(folder):
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def text(folder):
    (folder / "text.wav").write_text("this is not a sound\n" * 50)
    return folder / "text.wav"


def playlist(folder):
    write_tone(folder / "inner.wav")
    (folder / "list.wav").write_text(f"#EXTM3U\n#EXTINF:1,\n{folder}/inner.wav\n#EXT-X-ENDLIST\n")
    return folder / "list.wav"


def concat_script(folder):
    write_tone(folder / "inner.wav")
    (folder / "list.mp3").write_text("ffconcat version 1.0\nfile inner.wav\n")
    return folder / "list.mp3"


def video_without_sound(folder):
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=25", folder / "mute.mp4")
    return folder / "mute.mp4"


def zero_length(folder):
    return write_float_wav(folder / "zero.wav", [])


def twenty_milliseconds(folder):
    return write_tone(folder / "short.wav", seconds=0.02)


def digital_silence(folder):
    return write_float_wav(folder / "silent.wav", np.zeros(SAMPLE_RATE))


def nan_samples(folder):
    samples = np.sin(np.arange(SAMPLE_RATE) / 20)
    samples[5000] = np.nan
    return write_float_wav(folder / "nan.wav", samples)


def integers_as_floats(folder):
    return write_float_wav(folder / "loud.wav", 20_000 * np.sin(np.arange(SAMPLE_RATE) / 20))
