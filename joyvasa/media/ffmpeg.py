"""Safe use of ffmpeg: executable, command lines, pipes and error messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, Self

from joyvasa.errors import EnvironmentFault, InputError

# Text formats that make ffmpeg open other files; they are never recordings.
PLAYLIST_HEADERS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0\n", b"v=0\r\n")
# Largest block of memory, bytes: a frame of 64 megapixels with four channels of 16 bits. Without a limit, a damaged
# timestamp is filled with silence in one block of any size.
MAX_BLOCK_BYTES = 512 << 20
GLOBAL_OPTIONS = ("-nostdin", "-hide_banner", "-max_alloc", str(MAX_BLOCK_BYTES))
OPTIONS = (*GLOBAL_OPTIONS, "-loglevel")
PROBE_S = 20  # time limit for the probe of an executable, seconds
PROBE = (
    *("-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=0.2", "-f", "lavfi", "-i", "sine=duration=0.2"),
    *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-f", "null", "-"),
)
MESSAGE_BYTES = 65536  # limit of stored messages of ffmpeg
MIN_GAP_S = 0.02  # seconds; shorter holes in timestamps are rounding errors of containers
MESSAGE_CHARACTERS = 200  # limit of a message in an error sentence
MAX_LINE_BYTES = 4096  # longer messages are cut
Clock = Literal["samples", "file"]
# Bytes that are not UTF-8 are surrogates in Python; they are mapped to private-use characters.
_TO_UTF8 = {0xDC00 + byte: 0x10FE00 + byte for byte in range(0x80, 0x100)}
_FROM_UTF8 = {private: surrogate for surrogate, private in _TO_UTF8.items()}
_ERROR = re.compile(r"\[(error|fatal|panic)\]")
_TAGS = re.compile(r"^(\[[^\]]*\] )+")  # component and level
PICTURE_FORMAT = re.compile(r"^Input #0, (image2|\w+_pipe)\b", re.MULTILINE)
STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")  # of the containers of HEIF and AVIF pictures
STREAM_LINE = re.compile(r"Stream #\S+: (Video|Audio|Subtitle|Data|Attachment): (\w+)")


def ffmpeg_executable() -> str:
    """Return the path of an ffmpeg that works: the one on PATH, else the one of `imageio-ffmpeg`.

    Raises:
        EnvironmentFault: `ffmpeg_missing` if there is none, `ffmpeg_unusable` if none can encode H.264 and AAC.
    """
    return _find_ffmpeg(os.environ.get("PATH", ""))[0]


def ffmpeg_warnings() -> tuple[str, ...]:
    """Return a warning if the ffmpeg on PATH cannot be used and another one is used instead."""
    return _find_ffmpeg(os.environ.get("PATH", ""))[1]


@cache
def _find_ffmpeg(search_path: str) -> tuple[str, tuple[str, ...]]:
    """Return the path of the first usable ffmpeg, and the reasons why others are not used."""
    reasons = []
    for path in (shutil.which("ffmpeg", path=search_path), _bundled_ffmpeg()):
        if path is None:
            continue
        if not (reason := _probe_ffmpeg(path)):
            return path, tuple(f"{text}: using {path} instead" for text in reasons)
        reasons.append(reason)
    if reasons:
        raise EnvironmentFault("ffmpeg_unusable", f"{'; '.join(reasons)}: run `pip install imageio-ffmpeg`")
    raise EnvironmentFault(
        "ffmpeg_missing", "no ffmpeg on PATH and none from imageio-ffmpeg: run `pip install imageio-ffmpeg`"
    )


def _bundled_ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError):
        return None


def _probe_ffmpeg(path: str) -> str:
    """Encode a moment of picture and sound; return the reason if that fails, else an empty text."""
    command = [path, *OPTIONS, "error", *PROBE]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PROBE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path}: does not run ({error})"
    if result.returncode == 0:
        return ""
    reason = last_message(result.stderr.decode("utf-8", "replace"))
    return f"{path}: cannot encode H.264 and AAC ({reason})"


def input_stream(path: Path, kind: Literal["audio", "video"]) -> Any:
    """Return the first stream of a kind of a local file, an input node of the package `ffmpeg`.

    The `file:` prefix prevents names such as `concat:a|b` or `-i` from being parsed as protocols or options, and the
    protocol whitelist prevents a container from referring to the network.
    """
    import ffmpeg

    return ffmpeg.input(filename=f"file:{to_utf8(path)}", protocol_whitelist="file")[f"{kind[0]}:0"]


def audio_stream(path: Path, clock: Clock) -> Any:
    """Open the first audio stream of a local file on a gapless clock, for the package `ffmpeg`.

    In files the sound may start after the picture, and timestamps may have holes. Whatever reads sound must agree on
    the position of each sample:

    - `samples`: decoded samples follow one another, without late start and holes. The clock of recordings that drive a
      motion.
    - `file`: silence fills a late start and holes. The clock of videos, whose frames follow the timestamps.
    """
    stream = input_stream(path, "audio")
    if clock == "samples":
        return stream.filter("asetpts", "N/SR/TB")
    return stream.filter("aresample", **{"async": 1, "first_pts": 0, "min_hard_comp": MIN_GAP_S})


def compile_command(output: Any, *, overwrite: bool = False, log_level: str = "error") -> list[str]:
    """Return the command line for an output node of the package `ffmpeg`; `overwrite` replaces an existing file.

    Raises:
        EnvironmentFault: `ffmpeg_missing`.
    """
    command = output.global_args(*OPTIONS, log_level).compile(cmd=ffmpeg_executable(), overwrite_output=overwrite)
    return [argument.translate(_FROM_UTF8) for argument in command]


def to_utf8(path: Path) -> str:
    """Return a path as text for the package `ffmpeg`, which refuses names that are not UTF-8.

    `compile_command` restores the bytes of such a name.
    """
    return str(path).translate(_TO_UTF8)


def run_ffmpeg(arguments: Sequence[str]) -> tuple[int, str]:
    """Run ffmpeg and wait for it; return the exit code and the messages.

    Raises:
        EnvironmentFault: `ffmpeg_missing`.
    """
    command = [ffmpeg_executable(), *GLOBAL_OPTIONS, *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return result.returncode, result.stderr.decode("utf-8", "replace")


def inspect_file(path: Path, *arguments: str) -> str:
    """Return the messages of ffmpeg about a local file.

    Raises:
        EnvironmentFault: `ffmpeg_missing`.
    """
    return run_ffmpeg(["-protocol_whitelist", "file", "-i", f"file:{path}", *arguments])[1]


def is_playlist(path: Path) -> bool:
    """Return whether a file is a text that refers to other media files."""
    with path.open("rb") as file:
        return file.read(32).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLIST_HEADERS)


def check_media(path: Path, kind: Literal["audio", "video"]) -> None:
    """Check that a path is a regular media file before decoding it.

    Raises:
        InputError: `<kind>_missing`, `<kind>_empty` or `<kind>_unreadable`.
    """
    expected = "a sound file" if kind == "audio" else "a video file"
    try:
        if not path.exists():
            raise InputError(f"{kind}_missing", f"{path}: no such file: check the path")
        if not path.is_file():
            raise InputError(f"{kind}_unreadable", f"{path}: not a regular file; expected {expected}")
        if path.stat().st_size == 0:
            raise InputError(f"{kind}_empty", f"{path}: the file is empty (0 bytes); expected {expected}")
        playlist = is_playlist(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{kind}_unreadable", f"{path}: cannot be read ({reason})") from None
    if playlist:
        raise InputError(f"{kind}_unreadable", f"{path}: a playlist that names other files; expected {expected}")


def list_streams(path: Path) -> list[str]:
    """Return the streams of a file as `kind/codec`, for example `["video/h264"]`; empty if it is not a media file."""
    return parse_streams(inspect_file(path))


def parse_streams(text: str) -> list[str]:
    """Return the streams in the result of `inspect_file`, see `list_streams`."""
    return [f"{kind.lower()}/{codec}" for kind, codec in STREAM_LINE.findall(text)]


def holds_moving_pictures(path: Path) -> bool:
    """Return whether a file is a video; not a picture, a sound, a playlist, something else or missing."""
    if not path.is_file() or is_playlist(path):
        return False
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in STILL_BRANDS:
        return False
    text = inspect_file(path)
    if PICTURE_FORMAT.search(text):
        return False
    streams = [(STREAM_LINE.search(line), line) for line in text.splitlines()]
    return any(match and match[1] == "Video" and "(attached pic)" not in line for match, line in streams)


class FfmpegPipe:
    """An ffmpeg process that writes to a pipe; a context manager that always ends the process.

    Args:
        output: output node of the package `ffmpeg`, to `pipe:`.
        log_level: level of ffmpeg's messages, see `messages`.
    """

    def __init__(self, output: Any, *, log_level: str = "error") -> None:
        command = compile_command(output, log_level=f"level+{log_level}")
        self._messages = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._messages
        )
        assert self._process.stdout is not None
        self.stdout: IO[bytes] = self._process.stdout

    def failure(self) -> str:
        """Wait for ffmpeg to exit; return the last error message if it failed, else an empty text."""
        if self._process.wait() == 0:
            return ""
        return last_message("".join(line for line in self.messages() if _ERROR.search(line)))

    def messages(self) -> Iterator[str]:
        """Wait for the end; yield the messages line by line, the level in brackets."""
        self._process.wait()
        self._messages.seek(0)
        for line in self._messages:
            yield line[:MAX_LINE_BYTES].decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.stdout.close()
        self._process.wait()
        self._messages.close()


class FfmpegSink:
    """An ffmpeg process that reads from a pipe and writes a file.

    Its messages are collected through a second pipe, as a file could not be written if the disk is full.
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
        """Kill the process."""
        self._process.kill()

    def wait(self) -> tuple[int, str]:
        """Wait for ffmpeg to exit; return the exit code and the last messages."""
        code = self._process.wait()
        self._collector.join()
        return code, self._messages.decode("utf-8", "replace")


def last_message(text: str) -> str:
    """Return the last line of the messages of a program, shortened for an error sentence."""
    lines = [_TAGS.sub("", line).strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:MESSAGE_CHARACTERS] if lines else "no message"
