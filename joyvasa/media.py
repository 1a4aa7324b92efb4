"""Where ffmpeg is, and how to open a file with it safely."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from joyvasa.errors import EnvironmentFault

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


def list_streams(path: Path) -> list[str]:
    """Streams of a media file as `kind/codec`, for example `["video/h264"]`; empty if it is none."""
    command = [ffmpeg_executable(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    text = result.stderr.decode("utf-8", "replace")
    return [f"{kind.lower()}/{codec}" for kind, codec in STREAM_LINE.findall(text)]


def last_words(text: str, limit: int = 200) -> str:
    """The last line of a program's complaints, cut to `limit` characters, for an error sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:limit] if lines else "no message"
