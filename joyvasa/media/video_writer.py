"""Encoder of H.264 videos with sound, which runs while frames are being rendered."""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np

from joyvasa.errors import ConfigError, EnvironmentFault, OutputError
from joyvasa.media.ffmpeg import Clock, FfmpegSink, audio_stream, compile_command, last_message, run_ffmpeg, to_utf8
from joyvasa.runtime.files import FULL_DISK, StagedFile, build_output_error, check_writable, output_errors

QUEUED_BATCHES = 2  # maximum number of batches that wait for the encoder; bounds memory
PROBE_SIDE = 256  # pixels, side of the picture that tests an encoder; nvenc rejects small ones
MAX_LAYOUT_CHANNELS = 8  # ffmpeg mixes down streams of up to 7.1 in every container
ENCODERS = ("x264", "nvenc")
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class EncodingConfig:
    """Options of video compression."""

    # `nvenc` encodes on the graphics card if it has an encoder; data center GPUs often have none
    encoder: Literal["x264", "nvenc"] = "x264"
    crf: int = 18  # quality of both encoders, 0 (lossless) to 51; 18 is visually lossless
    preset: str = "veryfast"  # preset of x264: speed against size
    audio_bitrate_k: int = 128  # bitrate of the AAC sound, kbit/s
    threads: int = 0  # threads of x264; 0: its own choice

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ConfigError("config_invalid", f"encoding.encoder is {self.encoder}; expected {' or '.join(ENCODERS)}")
        if not 0 <= self.crf <= 51:
            raise ConfigError("config_invalid", f"encoding.crf is {self.crf}; expected 0 (lossless) to 51")
        if self.audio_bitrate_k < 1:
            raise ConfigError(
                "config_invalid", f"encoding.audio_bitrate_k is {self.audio_bitrate_k}; expected 1 or more"
            )
        if self.threads < 0:
            raise ConfigError("config_invalid", f"encoding.threads is {self.threads}; expected 0 or more")
        if self.preset not in PRESETS:
            raise ConfigError("config_invalid", f"encoding.preset is {self.preset}; expected {', '.join(PRESETS)}")


def check_encoder(config: EncodingConfig) -> None:
    """Check that the encoder is available.

    Raises:
        EnvironmentFault: `encoder_unavailable`.
    """
    if config.encoder == "x264":
        return
    picture = f"color=size={PROBE_SIDE}x{PROBE_SIDE}:duration=0.1"
    code, messages = run_ffmpeg(
        ["-loglevel", "error", "-f", "lavfi", "-i", picture, "-c:v", "h264_nvenc", "-f", "null", "-"]
    )
    if code:
        first = next(iter(messages.splitlines()), "no reason given")
        raise EnvironmentFault(
            "encoder_unavailable",
            f"encoding.encoder is nvenc: cannot be used here ({first[:200]}); expected a GPU with an encoder, which "
            "data center GPUs often lack, and an ffmpeg that supports it: use encoding.encoder=x264",
        )


class VideoWriter:
    """Writes a video; a context manager.

    `write` passes a batch to a thread that feeds ffmpeg, so that rendering and encoding overlap. The file is written
    under a temporary name in the same folder, synced and renamed when it is complete. An exception in the `with` block
    removes it.

    Args:
        path: path of the video, ending in `.mp4`.
        width, height: size of the frames, even, pixels.
        frames_per_second: frame rate.
        n_frames: number of frames; the sound is truncated or padded with silence to the same length.
        sound: file whose first audio stream becomes the soundtrack, or None.
        sound_channels: number of channels of `sound`; streams of more than 8 have no standard mix, and are averaged.
        sound_clock: clock of the soundtrack, see `joyvasa.media.ffmpeg.audio_stream`.
        config: options of compression; None for the defaults.
        metadata: tags of the file, for example `{"comment": "..."}`.

    Raises:
        OutputError: `output_unwritable`, `disk_full` or `encoding_failed`; also from `write`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        frames_per_second: float,
        n_frames: int,
        sound: Path | None = None,
        sound_channels: int = 2,
        sound_clock: Clock = "samples",
        config: EncodingConfig | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"frames of {width}x{height} pixels: yuv420p needs even sides")
        self.path = Path(path)
        self._shape = (height, width, 3)
        with output_errors(self.path):
            self._staged = StagedFile(self.path)

        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(QUEUED_BATCHES)
        self._failure: BaseException | None = None
        try:
            command = _command(
                self._staged.path,
                size=f"{width}x{height}",
                frames_per_second=frames_per_second,
                duration_s=n_frames / frames_per_second,
                soundtrack=_mix_soundtrack(sound, sound_channels, sound_clock) if sound else None,
                config=config or EncodingConfig(),
                metadata=metadata or {},
            )
            self._encoder = FfmpegSink(command)
        except BaseException:
            self._staged.discard()
            raise
        self._thread = threading.Thread(target=self._feed, name="video-encoder", daemon=True)
        self._thread.start()

    def write(self, frames: np.ndarray) -> None:
        """Queue a batch of frames; block while `QUEUED_BATCHES` batches are queued.

        Args:
            frames: frames, uint8 RGB, shape (batch, height, width, 3); must not be modified afterwards.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != self._shape:
            raise ValueError(f"frames are {frames.dtype} {frames.shape[1:]}; expected uint8 {self._shape}")
        self._queue.put(np.ascontiguousarray(frames))
        if self._failure is not None:
            raise self._error()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._encoder.kill()
            self._queue.put(None)
            self._thread.join()
            code, messages = self._encoder.wait()
            if error is None:
                # Some releases of ffmpeg exit with 0 although the disk was full for the last bytes.
                if code != 0 or self._failure is not None or _disk_trouble(self.path, messages):
                    raise self._error()
                with output_errors(self.path):
                    self._staged.commit()
        finally:
            self._staged.discard()

    def _feed(self) -> None:
        """Pass batches from the queue to ffmpeg; after a failure, only empty the queue. Runs in the thread."""
        stdin = self._encoder.stdin
        while (frames := self._queue.get()) is not None:
            if self._failure is None:
                self._failure = _attempt(stdin, frames)
        try:
            stdin.close()
        except OSError as failure:
            self._failure = self._failure or failure

    def _error(self) -> OutputError:
        self._encoder.kill()
        _, messages = self._encoder.wait()
        failure = OutputError("encoding_failed", f"{self.path}: ffmpeg stopped ({last_message(messages)})")
        return _disk_trouble(self.path, messages) or failure


def check_output_path(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Check that a video can be written to a path, and that it is none of the inputs.

    Raises:
        OutputError: see `check_writable`.
    """
    if path.is_dir():
        raise OutputError("output_unwritable", f"{path}: is a folder; expected a file such as {path / 'out.mp4'}")
    if path.suffix.lower() != ".mp4":
        raise OutputError("output_unwritable", f"{path}: ends in {path.suffix!r}; expected a name such as out.mp4")
    check_writable(path, inputs)


def _attempt(stdin: IO[bytes], frames: np.ndarray) -> OSError | None:
    try:
        stdin.write(frames.data)
    except OSError as failure:  # ffmpeg has exited; its messages contain the reason
        return failure
    return None


def _disk_trouble(path: Path, messages: str) -> OutputError | None:
    """Return the error for a full or read-only disk, if the messages of ffmpeg name one."""
    numbers = (number for number in (*FULL_DISK, errno.EROFS) if os.strerror(number) in messages)
    return next((build_output_error(path, number) for number in numbers), None)


def _mix_soundtrack(path: Path, channels: int, clock: Clock) -> Any:
    """Open a recording, mixed to mono or stereo and followed by silence."""
    stream = audio_stream(path, clock)
    if channels <= MAX_LAYOUT_CHANNELS:
        return stream.filter("aformat", channel_layouts="mono|stereo").filter("apad")
    mean = "+".join(f"{1 / channels:.6f}*c{channel}" for channel in range(channels))
    return stream.filter("pan", args=f"mono|c0={mean}").filter("apad")


def _command(
    path: Path,
    *,
    size: str,
    frames_per_second: float,
    duration_s: float,
    soundtrack: Any | None,
    config: EncodingConfig,
    metadata: Mapping[str, str],
) -> list[str]:
    import ffmpeg

    # Players assume BT.709 for untagged HD files; conversion and tags must agree to preserve colors.
    picture = (
        ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=size, r=frames_per_second)
        .filter("scale", in_range="full", out_range="tv", out_color_matrix="bt709")
        .filter("setparams", color_primaries="bt709", color_trc="bt709", colorspace="bt709")
    )
    options: dict[str, object] = {
        "format": "mp4",
        "pix_fmt": "yuv420p",
        "movflags": "+faststart",  # plays in a browser before it is fully loaded
        "map_metadata": -1,  # omits the tags of the sound file
    }
    if config.encoder == "nvenc":
        # Its quality 0 means "choose one"; lossless is a mode of its own.
        quality = {"rc": "vbr", "cq": config.crf} if config.crf else {"tune": "lossless"}
        options |= {"vcodec": "h264_nvenc", "preset": "p4", "video_bitrate": 0, **quality}
    else:
        options |= {"vcodec": "libx264", "crf": config.crf, "preset": config.preset, "threads": config.threads}
    streams = [picture]
    if soundtrack is not None:
        streams.append(soundtrack)
        options |= {"acodec": "aac", "audio_bitrate": f"{config.audio_bitrate_k}k", "t": f"{duration_s:.6f}"}
    options |= {f"metadata:g:{i}": f"{key}={value}" for i, (key, value) in enumerate(metadata.items())}
    return compile_command(ffmpeg.output(*streams, to_utf8(path), **options), overwrite=True)
