"""Damaged and unusual pictures, sounds and videos: decoded, decoded with a warning, or refused with one sentence."""

import io
import re
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from joyvasa.errors import JoyvasaError
from joyvasa.media.audio import SAMPLE_RATE, decode_audio, probe_audio, stream_audio, stream_normalized
from joyvasa.media.image import read_image
from joyvasa.media.video_reader import probe_video, stream_video
from tests.faults.fuzz.fuzzing import call, fuzz, mutated
from tests.media import ffmpeg

pytestmark = pytest.mark.slow
PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (40, 36, 3), np.uint8), (0, 0), 3)
EXIF = Image.Exif()
EXIF[0x0112] = 6


def pillow(kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(file, kind, **options)
    return file.getvalue()


def opencv(suffix, picture=PICTURE):
    return cv2.imencode(suffix, picture)[1].tobytes()


PICTURES = {
    "jpg": pillow("JPEG", exif=EXIF),
    "progressive": pillow("JPEG", progressive=True),
    "cmyk": pillow("JPEG", "CMYK"),
    "png": pillow("PNG"),
    "palette": pillow("PNG", "P", transparency=3),
    "apng": pillow("PNG", save_all=True, append_images=[Image.new("RGB", (36, 40))]),
    "png16": opencv(".png", PICTURE.astype(np.uint16) * 257),
    "webp": pillow("WEBP", exif=EXIF),
    "lossless": pillow("WEBP", "RGBA", lossless=True),
    "tiff": pillow("TIFF"),
    "lzw": pillow("TIFF", "LA", compression="tiff_lzw"),
    "deflate": pillow("TIFF", "I;16"),
    "float": opencv(".tiff", PICTURE.astype(np.float32) / 255),
    "gif": pillow("GIF", "P", save_all=True, append_images=[Image.new("P", (36, 40))]),
    "bmp": pillow("BMP"),
    "dib": pillow("DIB", "P"),
    "avif": pillow("AVIF"),
    "jp2": pillow("JPEG2000"),
    "ppm": pillow("PPM"),
    "pgm": b"P2\n36 40\n255\n" + b"7 " * 1440,
    "pam": opencv(".pam"),
    "pfm": opencv(".pfm", PICTURE.astype(np.float32) / 255),
    "hdr": opencv(".hdr", PICTURE.astype(np.float32) / 255),
    "sun": opencv(".ras"),
}


def check_picture(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p")
        path.write_bytes(content)
        image = call(lambda: read_image(path, max_pixels=1 << 22))
        if not isinstance(image, JoyvasaError):
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert min(image.shape[:2]) >= 32


@pytest.mark.parametrize("kind", PICTURES)
@fuzz(8)
@given(st.data())
def test_damaged_pictures(kind, data):
    check_picture(data.draw(mutated(PICTURES[kind], [PICTURES["jpg"], PICTURES["png"]])))


@fuzz(40)
@given(st.sampled_from(["png", "palette", "apng", "png16"]), st.data())
def test_pictures_with_damaged_chunks_of_right_checksums(kind, data):
    content, chunks = PICTURES[kind], []
    at = 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    index = data.draw(st.integers(0, len(chunks) - 1))
    name, body = chunks[index]
    chunks[index] = (
        data.draw(st.sampled_from([name, b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"acTL", b"IHDR", b"zTXt"])),
        data.draw(mutated(body)),
    )
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    check_picture(content[:8] + b"".join(parts))


HEADERS = [
    b"P6\n%d %d\n%d\n",
    b"P5 %d %d %d ",
    b"P4\n%d %d\n",
    b"Pf\n%d %d\n-%d\n",
    b"PF\n%d %d\n%d\n",
    b"#?RADIANCE\n\n-Y %d +X %d\n",
]
HEADERS += [b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL %d\nTUPLTYPE RGB\nENDHDR\n"]


@fuzz(40)
@given(
    st.sampled_from(HEADERS),
    st.lists(st.sampled_from([0, 1, 32, 40, 255, 65535, 65536, 10**9, 10**30, -1]), min_size=3, max_size=3),
    st.integers(0, 6000),
)
def test_headers_with_any_numbers(header, numbers, size):
    check_picture(header % tuple(numbers[: header.count(b"%d")]) + b"\x80" * size)


SOUNDS = {
    "wav": [], "w64": [], "aiff": [], "au": [], "flac": [], "mp3": [], "ogg": ["-c:a", "libvorbis"],
    "opus": [], "m4a": [], "aac": [], "wma": [],
    "ac3": [], "mka": ["-c:a", "flac"], "webm": ["-c:a", "libopus"], "caf": [], "amr": ["-ar", "8000"],
    "wv": [], "avi": ["-c:a", "pcm_f32le"],
}  # fmt: skip
STATED = (
    "wav",
    "w64",
    "aiff",
    "flac",
    "ogg",
    "opus",
    "m4a",
    "mka",
    "webm",
)  # formats that state their length or their end


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for suffix, options in SOUNDS.items():
        source = "sine=frequency=220:sample_rate=16000:duration=0.6,volume=4"
        try:
            ffmpeg("-f", "lavfi", "-i", source, *options, folder / f"s.{suffix}")
        except Exception:  # an ffmpeg without this encoder
            (folder / f"s.{suffix}").write_bytes(b"")
    return {suffix: (folder / f"s.{suffix}").read_bytes() for suffix in SOUNDS}


def check_sound(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"s.{suffix}")
        path.write_bytes(content)
        info = call(lambda: probe_audio(path))
        if isinstance(info, JoyvasaError):
            return None
        blocks = call(lambda: list(stream_audio(path)))
        assert not isinstance(blocks, JoyvasaError), blocks
        assert sum(map(len, blocks)) == info.n_samples
        assert all(block.dtype == np.float32 and np.isfinite(block).all() for block in blocks)
        assert info.n_samples < 60 * SAMPLE_RATE
        with decode_audio(path) as decoder:
            assert 0 < decoder.rate <= 768_000
        normalized = call(lambda: list(stream_normalized(path)))
        assert all(np.isfinite(block).all() for block in normalized)
        return info


@pytest.mark.parametrize("suffix", SOUNDS)
@fuzz(6)
@given(st.data())
def test_damaged_sounds(sounds, suffix, data):
    if sounds[suffix]:
        check_sound(data.draw(mutated(sounds[suffix])), suffix)


@pytest.mark.parametrize("suffix", STATED)
@fuzz(4)
@given(st.floats(0.05, 0.9))
def test_a_sound_that_was_cut_off_has_a_warning(sounds, suffix, share):
    if sounds[suffix]:
        content = sounds[suffix]
        info = check_sound(content[: int(len(content) * share)], suffix)
        assert info is None or info.duration_s > 0.4 or info.warnings


RIFF_NUMBERS = st.sampled_from(
    [0, 1, 2, 3, 4, 7, 8, 16, 24, 32, 64, 255, 256, 8000, 16000, 44100, 65535, 768_001, 2**31 - 1, 2**31, 2**32 - 1]
)


@fuzz(40)
@given(
    st.sampled_from([1, 3, 6, 7, 17, 85, 0xFFFE]),
    RIFF_NUMBERS,
    RIFF_NUMBERS,
    RIFF_NUMBERS,
    RIFF_NUMBERS,
    st.sampled_from([0, 7, 9600, 2**32 - 1]),
)
def test_wav_files_with_any_numbers(kind, channels, rate, align, bits, size):
    body = b"fmt " + struct.pack("<IHHIIHH", 16, kind, channels & 0xFFFF, rate, 32000, align & 0xFFFF, bits & 0xFFFF)
    samples = (np.sin(np.arange(4800)) * 20000).astype("<i2").tobytes()
    check_sound(
        b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVE" + body + b"data" + struct.pack("<I", size) + samples,
        "wav",
    )


VIDEOS = {
    "mp4": ["-c:v", "libx264"], "mov": ["-c:v", "mpeg4"], "mkv": ["-c:v", "libx264"], "webm": ["-c:v",
    "libvpx"], "avi": ["-c:v", "mjpeg"],
    "gif": [], "ts": ["-c:v", "mpeg2video"], "flv": ["-c:v", "flv1"], "y4m": [], "h264": ["-c:v", "libx264"],
}  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for suffix, options in VIDEOS.items():
        try:
            ffmpeg("-f", "lavfi", "-i", "testsrc=size=48x32:rate=25:duration=0.4", *options, folder / f"v.{suffix}")
        except Exception:  # an ffmpeg without this encoder
            (folder / f"v.{suffix}").write_bytes(b"")
    return {suffix: (folder / f"v.{suffix}").read_bytes() for suffix in VIDEOS}


@pytest.mark.parametrize("suffix", VIDEOS)
@fuzz(8)
@given(st.data())
def test_damaged_videos(videos, suffix, data):
    if not videos[suffix]:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"v.{suffix}")
        path.write_bytes(data.draw(mutated(videos[suffix])))
        info = call(lambda: probe_video(path))
        if isinstance(info, JoyvasaError):
            return
        assert 0 < info.frames_per_second <= 1000
        shapes = call(lambda: [batch.shape for batch in stream_video(path, frames_per_second=25, size=(48, 32))])
        if not isinstance(shapes, JoyvasaError):
            assert all(shape[1:] == (32, 48, 3) for shape in shapes)
            # A GIF states how long it shows each picture, up to 655 s.
            assert sum(shape[0] for shape in shapes) < 3000 or suffix == "gif"


PLAYLISTS = [
    b"#EXTM3U\nfile:///etc/passwd\n",
    b"ffconcat version 1.0\nfile a\n",
    b"<?xml version='1.0'?><MPD/>",
    b"v=0\nm=audio",
    b"[playlist]\nFile1=x",
]


@fuzz(20)
@given(st.sampled_from(PLAYLISTS).flatmap(mutated), st.sampled_from(["wav", "m3u8", "mp4", "sdp", "mpd", "txt"]))
def test_texts_that_name_other_files(content, suffix):
    check_sound(content, suffix)


def test_names_of_any_characters(sounds):
    for name in [
        "-i",
        "a b.wav",
        "concat:a|b.wav",
        "%d.wav",
        "a%03d.wav",
        "file:x.wav",
        "'\".wav",
        "\n.wav",
        "\u202e.wav",
        "é.wav",
        "pipe:1",
        "a::b.wav",
    ]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(sounds["wav"])
            assert call(lambda path=path: probe_audio(path)).n_samples == 9600
            path.write_bytes(b"x")
            error = call(lambda path=path: probe_audio(path))
            assert re.match("audio_unreadable", str(error))
