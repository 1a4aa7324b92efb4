"""Where ffmpeg is, and how to open a file with it safely."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any, Literal, Self

from joyvasa.errors import EnvironmentFault, InputError

# Text formats that make ffmpeg open *other* files; a recording is never one of them.
PLAYLIST_HEADERS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0\n", b"v=0\r\n")
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


def input_options(path: Path) -> dict[str, str]:
    """Keyword arguments of `ffmpeg.input` that open this local file and nothing else.

    The `file:` prefix keeps names such as `concat:a|b` or `-i` from being read as protocols or
    options, and the white list keeps a container from pointing ffmpeg at the network.
    """
    return {"filename": f"file:{path}", "protocol_whitelist": "file"}


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
    command = [ffmpeg_executable(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    text = result.stderr.decode("utf-8", "replace")
    return [f"{kind.lower()}/{codec}" for kind, codec in STREAM_LINE.findall(text)]


class FfmpegPipe:
    """An ffmpeg that writes to a pipe; a context manager that ends it, whatever happened.

    Args:
        stream: of the package `ffmpeg`, with `pipe:` as its output.
    """

    def __init__(self, stream: Any) -> None:
        options = ("-nostdin", "-hide_banner", "-loglevel", "error")
        command = stream.global_args(*options).compile(cmd=ffmpeg_executable())
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._complaints
        )
        assert self._process.stdout is not None
        self.stdout: IO[bytes] = self._process.stdout

    def failure(self) -> str:
        """Waits for the end; the last line of its complaints if it failed, else nothing."""
        if self._process.wait() == 0:
            return ""
        self._complaints.seek(0)
        return last_words(self._complaints.read(65536).decode("utf-8", "replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.stdout.close()
        self._process.wait()
        self._complaints.close()


def last_words(text: str, limit: int = 200) -> str:
    """The last line of a program's complaints, cut to `limit` characters, for an error sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:limit] if lines else "no message"
