"""Streaming decoder of video frames; memory does not grow with the video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from joyvasa.errors import InputError
from joyvasa.media.decoder_log import parse_duration
from joyvasa.media.ffmpeg import (
    PICTURE_FORMAT,
    FfmpegPipe,
    check_media,
    input_stream,
    inspect_file,
    parse_streams,
)
from joyvasa.media.image import Image

MAX_PIXELS = 64_000_000  # per frame; a batch of larger ones would not fit into memory
MAX_NOMINAL_RATE = 240  # frames per second; a higher rate is the clock of the container
# Range of the mean rate, frames per second; others mean damaged timestamps. The highest is the clock of browser
# recordings; at lower ones, repeating frames at a constant rate would hardly end.
MIN_RATE, MAX_RATE = 0.1, 1000
MIN_BYTES_PER_S = 100  # of the file; with fewer, the rate is measured. Black video of 320x240 has about 600
BATCH_FRAMES = 16
BATCH_BYTES = 64 << 20  # maximum size of a batch of several frames
MAX_HEADER_BYTES = 256  # of YUV4MPEG2's first line, which has about 80


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file."""

    width: int  # displayed size of the frames, pixels; frames of non-square pixels are stretched to it
    height: int  # displayed size of the frames, pixels; frames of non-square pixels are stretched to it
    frames_per_second: Fraction  # nominal frame rate; the mean rate if the nominal one is implausible
    has_sound: bool  # whether the file has a sound stream
    duration_s: float | None = None  # of the file, as its header states it, seconds; None if it states none


def probe_video(path: str | Path) -> VideoInfo:
    """Read the properties of a video file; only the first frame is decoded.

    Args:
        path: file with a picture stream that ffmpeg can read.

    Raises:
        InputError: `video_missing`, `video_empty`, `video_unreadable` or `video_too_large`.
        EnvironmentFault: `ffmpeg_missing`.
    """
    path = Path(path)
    check_media(path, "video")
    text = inspect_file(path)
    streams = parse_streams(text)
    if not any(stream.startswith("video/") for stream in streams):
        content = ", ".join(streams) or "no media"
        raise InputError("video_unreadable", f"{path}: no picture stream (found: {content}); expected a video")
    if PICTURE_FORMAT.search(text):
        raise InputError("video_unreadable", f"{path}: a picture; expected a video")

    # YUV4MPEG2: a line of text with size and rate, then raw pictures.
    with _frames(path, vframes=1, format="yuv4mpegpipe", pix_fmt="yuv420p") as pipe:
        header = pipe.stdout.readline(MAX_HEADER_BYTES).decode("ascii", "replace").split()
    values = {token[0]: token[1:] for token in header[1:]}
    try:
        width, height = int(values["W"]), int(values["H"])
        rate, pixel_aspect = _parse_ratio(values["F"]), _parse_ratio(values.get("A", "1:1"))
    except (KeyError, ValueError, ZeroDivisionError, TypeError):
        raise InputError("video_unreadable", f"{path}: its pictures could not be decoded: export it again") from None
    width = max(1, round(width * pixel_aspect))
    duration_s = parse_duration(text)
    is_clock = rate > MAX_NOMINAL_RATE
    is_sparse = duration_s is not None and path.stat().st_size < duration_s * MIN_BYTES_PER_S
    mean_rate = (_measure_rate(path) if is_clock or is_sparse else None) or rate
    if not MIN_RATE <= mean_rate <= MAX_RATE:
        shown = f"{float(mean_rate):,.0f}" if mean_rate > 1 else f"{float(mean_rate):.1g}"
        raise InputError(
            "video_unreadable",
            f"{path}: {shown} frames per second; expected {MIN_RATE} to {MAX_RATE:,}: its timestamps are damaged, "
            "export it again",
        )
    if width * height > MAX_PIXELS:
        raise InputError(
            "video_too_large",
            f"{path}: frames of {width}x{height} pixels; expected at most {MAX_PIXELS / 1e6:.0f} megapixels: "
            "use a smaller video",
        )
    has_sound = any(stream.startswith("audio/") for stream in streams)
    return VideoInfo(width, height, mean_rate if is_clock else rate, has_sound, duration_s)


def _parse_ratio(text: str) -> Fraction:
    numerator, denominator = map(int, text.split(":"))
    return Fraction(numerator, denominator) if numerator else Fraction(1)  # 0:0 is an unknown pixel aspect


def _measure_rate(path: Path) -> Fraction | None:
    """Return the mean frame rate by the timestamps of the packets; None if there are fewer than two.

    Recordings of browsers have no nominal rate but a clock of milliseconds, which ffmpeg reports as 1000 frames per
    second.
    """
    first = last = n_packets = 0
    time_base = Fraction(1)
    packets = input_stream(path, "video").output("pipe:", format="framecrc", c="copy")
    with FfmpegPipe(packets) as pipe:
        for line in pipe.stdout:
            if line.startswith(b"#tb 0:"):
                time_base = Fraction(line[6:].decode("ascii").strip())
            elif not line.startswith(b"#"):
                time = int(line.split(b",")[2])  # stream, decoding time, presentation time, ...
                first, last = (min(first, time), max(last, time)) if n_packets else (time, time)
                n_packets += 1
    if last == first:
        return None
    rate = (n_packets - 1) / ((last - first) * time_base)
    return rate.limit_denominator(1001) or rate


def stream_video(
    path: str | Path,
    *,
    frames_per_second: float | Fraction | None = None,
    size: tuple[int, int] | None = None,
    batch_frames: int = BATCH_FRAMES,
    info: VideoInfo | None = None,
) -> Iterator[np.ndarray]:
    """Yield the frames of a video in order, at a constant rate.

    Args:
        path: file with a picture stream that ffmpeg can read; its rotation is applied.
        frames_per_second: output rate, by dropping or repeating frames; None for the rate of the video.
        size: output width and height, pixels; None for the size of the video.
        batch_frames: number of frames per array, if they have at most 64 MiB; the last one may be shorter.
        info: properties of the file; None reads them.

    Yields:
        Frames, uint8 RGB, shape (n, height, width, 3).

    Raises:
        InputError: see `probe_video`; `video_unreadable` also if decoding fails later.
    """
    path = Path(path)
    info = info or probe_video(path)
    width, height = size or (info.width, info.height)
    rate = frames_per_second or info.frames_per_second
    frame_bytes = width * height * 3
    batch_frames = max(1, min(batch_frames, BATCH_BYTES // frame_bytes))
    with _frames(path, rate=str(rate), format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}") as pipe:
        n_frames = 0
        while data := pipe.stdout.read(frame_bytes * batch_frames):
            n_whole = len(data) // frame_bytes
            n_frames += n_whole
            if n_whole:
                yield np.frombuffer(data, np.uint8, n_whole * frame_bytes).reshape(n_whole, height, width, 3)
        if (message := pipe.failure()) or not n_frames:
            raise InputError("video_unreadable", f"{path}: decoding stopped ({message or 'no frame'}): export it again")


def stream_frames(
    path: str | Path,
    *,
    frames_per_second: float | Fraction | None = None,
    size: tuple[int, int] | None = None,
    info: VideoInfo | None = None,
) -> Iterator[Image]:
    """Decode a video frame by frame, in bounded memory; arguments and errors are those of `stream_video`."""
    for frames in stream_video(path, frames_per_second=frames_per_second, size=size, info=info):
        yield from frames


def _frames(path: Path, *, rate: str | None = None, **output: object) -> FfmpegPipe:
    picture = input_stream(path, "video")
    if rate:
        picture = picture.filter("fps", fps=rate)  # the option -r repeats frames at the start of some files
    # Without -xerror, a damaged file would be read as a shorter video.
    return FfmpegPipe(picture.output("pipe:", **output).global_args("-xerror"))
