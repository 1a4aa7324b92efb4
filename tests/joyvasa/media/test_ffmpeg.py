"""An ffmpeg that cannot do the work is found before any work starts; videos are told from other files."""

import os
from pathlib import Path

import pytest

from joyvasa.errors import EnvironmentFault
from joyvasa.media import ffmpeg as ffmpeg_module
from joyvasa.media.audio import probe_audio
from joyvasa.media.ffmpeg import ffmpeg_executable, ffmpeg_warnings, holds_moving_pictures
from tests.media import MEDIA, ffmpeg, write_tone, write_video


@pytest.fixture
def first_on_path(tmp_path, monkeypatch):
    """Return a function that puts a script named `ffmpeg` first on PATH."""

    def put(script: str) -> Path:
        path = tmp_path / "bin/ffmpeg"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        return path

    return put


BROKEN = {
    "does not start": ("exit 127", "cannot encode H.264 and AAC (no message)"),
    "lacks a library": ("echo 'error while loading shared libraries: libx.so' >&2; exit 127", "libx.so"),
    "has no x264": ("echo \"Unknown encoder 'libx264'\" >&2; exit 1", "Unknown encoder 'libx264'"),
}


@pytest.mark.parametrize(("script", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_ffmpeg_on_path_is_replaced_by_the_bundled_one_with_a_warning(first_on_path, tmp_path, script, words):
    path = write_tone(tmp_path / "tone.wav")
    broken = first_on_path(script)
    assert ffmpeg_executable() != str(broken)
    (warning,) = ffmpeg_warnings()
    assert str(broken) in warning
    assert words in warning
    assert probe_audio(path).duration_s == pytest.approx(1)


def test_a_file_that_is_no_program_is_replaced_too(first_on_path):
    broken = first_on_path("")
    broken.write_bytes(b"\x00\x01")
    assert f"{broken}: does not run" in ffmpeg_warnings()[0]


def test_without_a_usable_ffmpeg_the_reasons_and_the_remedy_are_named(first_on_path, monkeypatch):
    first_on_path("echo 'no encoder' >&2; exit 1")
    monkeypatch.setattr(ffmpeg_module, "_bundled_ffmpeg", lambda: None)
    with pytest.raises(EnvironmentFault, match=r"ffmpeg_unusable: .*no encoder.*pip install imageio-ffmpeg"):
        ffmpeg_executable()


def test_pictures_covers_and_texts_are_no_videos(tmp_path):
    video = write_video(tmp_path / "video.mp4")
    picture = MEDIA / "portraits/s10.jpg"
    ffmpeg("-i", picture, "-vf", "scale=64:64", tmp_path / "picture.avif")
    write_tone(tmp_path / "tone.mp3")
    ffmpeg("-i", tmp_path / "tone.mp3", "-i", picture, "-map", 0, "-map", 1, "-c", "copy", tmp_path / "cover.mp3")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "list.mp4").write_text("#EXTM3U\nvideo.mp4")
    assert holds_moving_pictures(video)
    names = ("picture.avif", "tone.mp3", "cover.mp3", "text.mp4", "list.mp4", "absent.mp4")
    assert not any(holds_moving_pictures(path) for path in (picture, *(tmp_path / name for name in names)))
