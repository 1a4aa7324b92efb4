"""Finds and starts ffmpeg, opens files with it safely, and reads its error messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, Self

from joyvasa.errors import EnvironmentFault, InputError

# Text formats that make ffmpeg open *other* files; a recording is never one of them.
PLAYLIST_HEADERS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0\n", b"v=0\r\n")
QUIET = ("-nostdin", "-hide_banner", "-loglevel", "error")
MESSAGE_BYTES = 65536  # of the last messages of ffmpeg
MESSAGE_CHARACTERS = 200  # of a message in an error sentence
STREAM_LINE = re.compile(r"Stream #\S+: (Video|Audio|Subtitle|Data|Attachment): (\w+)")


def ffmpeg_executable() -> str:
    """Path of ffmpeg: the one on PATH, else the one that `imageio-ffmpeg` ships.

    Raises:
        EnvironmentFault: `ffmpeg_missing`, neither is there.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError):
        raise EnvironmentFault(
            "ffmpeg_missing", "no ffmpeg on PATH and none from imageio-ffmpeg: run `pip install imageio-ffmpeg`"
        ) from None


def input_stream(path: Path, kind: Literal["audio", "video"]) -> Any:
    """Open a local file, and nothing else, for the package `ffmpeg`.

    The `file:` prefix keeps names such as `concat:a|b` or `-i` from being read as protocols or options, and the white
    list keeps a container from pointing ffmpeg at the network.

    Args:
        path: media file.
        kind: kind of the stream.

    Returns:
        The first stream of this kind.
    """
    import ffmpeg

    return ffmpeg.input(filename=f"file:{path}", protocol_whitelist="file")[f"{kind[0]}:0"]


def compile_command(output: Any, *, overwrite: bool = False) -> list[str]:
    """Return the command line for an output of the package `ffmpeg`; it reports nothing but errors.

    Args:
        output: output node.
        overwrite: whether to replace an existing file.

    Raises:
        EnvironmentFault: `ffmpeg_missing`.
    """
    return output.global_args(*QUIET).compile(cmd=ffmpeg_executable(), overwrite_output=overwrite)


def run_ffmpeg(arguments: Sequence[str]) -> tuple[int, str]:
    """Run ffmpeg to its end.

    Args:
        arguments: command line without the executable.

    Returns:
        Exit code and messages.

    Raises:
        EnvironmentFault: `ffmpeg_missing`.
    """
    command = [ffmpeg_executable(), "-nostdin", "-hide_banner", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return result.returncode, result.stderr.decode("utf-8", "replace")


def inspect_file(path: Path, *arguments: str) -> str:
    """Return the messages of ffmpeg about a local file.

    Args:
        path: media file.
        arguments: what to do with it; nothing by default.

    Raises:
        EnvironmentFault: `ffmpeg_missing`.
    """
    return run_ffmpeg(["-protocol_whitelist", "file", "-i", f"file:{path}", *arguments])[1]


def is_playlist(path: Path) -> bool:
    """Whether the file is a text that names other media files, which is refused."""
    with path.open("rb") as file:
        return file.read(32).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLIST_HEADERS)


def check_media(path: Path, kind: Literal["audio", "video"]) -> None:
    """Refuses what is no file with sound or pictures before a decoder sees it.

    Args:
        path: of the file.
        kind: what it should be; the codes begin with it.

    Raises:
        InputError: `<kind>_missing`, `<kind>_empty` or `<kind>_unreadable`.
    """
    wanted = "a sound file" if kind == "audio" else "a video file"
    try:
        if not path.exists():
            raise InputError(f"{kind}_missing", f"{path}: no such file: check the path")
        if not path.is_file():
            raise InputError(f"{kind}_unreadable", f"{path}: not a regular file; expected {wanted}")
        if path.stat().st_size == 0:
            raise InputError(f"{kind}_empty", f"{path}: the file is empty (0 bytes); expected {wanted}")
        playlist = is_playlist(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{kind}_unreadable", f"{path}: cannot be read ({reason})") from None
    if playlist:
        raise InputError(f"{kind}_unreadable", f"{path}: a playlist that names other files; expected {wanted}")


def list_streams(path: Path) -> list[str]:
    """Streams of a media file as `kind/codec`, for example `["video/h264"]`; empty if it is none."""
    text = inspect_file(path)
    return [f"{kind.lower()}/{codec}" for kind, codec in STREAM_LINE.findall(text)]


class FfmpegPipe:
    """An ffmpeg that writes to a pipe; a context manager that always ends the process.

    Args:
        output: output node of the package `ffmpeg`, to `pipe:`.
    """

    def __init__(self, output: Any) -> None:
        command = compile_command(output)
        self._messages = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._messages
        )
        assert self._process.stdout is not None
        self.stdout: IO[bytes] = self._process.stdout

    def failure(self) -> str:
        """Wait for the end; return the last error message if ffmpeg failed, else an empty text."""
        if self._process.wait() == 0:
            return ""
        self._messages.seek(0)
        return last_message(self._messages.read(MESSAGE_BYTES).decode("utf-8", "replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.stdout.close()
        self._process.wait()
        self._messages.close()


class FfmpegSink:
    """An ffmpeg that reads from a pipe and writes a file.

    Its messages are collected through a second pipe, as a file would be lost where the disk is full.

    Args:
        command: command line, as `compile_command` returns it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stdin is not None
        self.stdin: IO[bytes] = self._process.stdin
        self._messages = b""
        self._collector = threading.Thread(target=self._collect, name="ffmpeg-messages", daemon=True)
        self._collector.start()

    def _collect(self) -> None:
        with self._process.stderr as stream:  # type: ignore[union-attr]
            while text := os.read(stream.fileno(), MESSAGE_BYTES):
                self._messages = (self._messages + text)[-MESSAGE_BYTES:]

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def wait(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and the last messages."""
        code = self._process.wait()
        self._collector.join()
        return code, self._messages.decode("utf-8", "replace")


def last_message(text: str) -> str:
    """Return the last line of the messages of a program, shortened for an error sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:MESSAGE_CHARACTERS] if lines else "no message"
