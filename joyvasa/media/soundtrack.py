"""Copying of the sound of a video to a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from joyvasa.errors import InputError, OutputError
from joyvasa.media.ffmpeg import audio_stream, compile_command, last_message, to_utf8
from joyvasa.media.video_reader import probe_video
from joyvasa.runtime.files import atomic_file, output_errors

SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus")


def check_sound(video: Path, output: Path) -> None:
    """Check that a video has sound and that the name of a sound file states a format.

    Raises:
        InputError: `sound_missing`, or see `probe_video`.
        OutputError: `output_unwritable`.
    """
    if output.suffix.lower() not in SOUND_SUFFIXES:
        found = f"{output}: ends in {output.suffix!r}"
        raise OutputError("output_unwritable", f"{found}; expected one of {', '.join(SOUND_SUFFIXES)}")
    if not probe_video(video).has_sound:
        raise InputError("sound_missing", f"{video}: no sound stream; expected a video with sound: leave out --sound")


def save_sound(video: Path, output: Path) -> None:
    """Write the sound of a video, which starts with its picture; silence fills holes.

    Args:
        video: video file with sound.
        output: sound file; its suffix decides the format. An existing file is replaced once the new one is complete.

    Raises:
        OutputError: `output_unwritable`, `disk_full` or `encoding_failed`.
    """
    with output_errors(output), atomic_file(output) as staged:
        command = compile_command(audio_stream(video, "file").output(to_utf8(staged), map_metadata=-1), overwrite=True)
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if result.returncode:
            message = last_message(result.stderr.decode("utf-8", "replace"))
            raise OutputError("encoding_failed", f"{output}: ffmpeg stopped ({message})")
