"""Sound files to 16 kHz mono, as a stream: memory does not grow with the recording."""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from joyvasa.errors import InputError
from joyvasa.media.ffmpeg import FfmpegPipe, check_media, input_stream, list_streams

SAMPLE_RATE = 16_000  # Hz; what HuBERT and wav2vec2 were trained on
BLOCK_S = 4.0  # seconds of sound per decoded block
MIN_DURATION_S = 0.1  # shorter sounds hold no speech; two to three video frames
SILENCE_PEAK = 1e-3  # -60 dBFS: below the noise floor of any recorded voice
MAX_PEAK = 16.0  # float files may exceed 1 a little; integers stored as floats exceed this
NORMALISATION_EPSILON = 1e-5  # keeps silence finite; the reference's value
MAX_RATE = 768_000  # Hz; no recorder goes higher, and a block of samples must fit into memory
AU_HEADER = struct.Struct(">4s5I")  # magic, offset of the data, size, encoding, rate, channels


@dataclass(frozen=True)
class AudioInfo:
    """What one full decode of a recording found."""

    n_samples: int  # at 16 kHz
    peak: float  # largest |sample| of the mono mix; 1 is full scale
    source_rate: int  # Hz
    channels: int

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.n_samples / SAMPLE_RATE


@dataclass(frozen=True)
class _Decoder:
    rate: int
    channels: int
    blocks: Iterator[np.ndarray]  # (n,) float32, mono, at `rate`


def probe_audio(path: str | Path, *, allow_silence: bool = False) -> AudioInfo:
    """Decodes a recording once, checks it and measures it.

    Args:
        path: any file with a sound stream that ffmpeg reads.
        allow_silence: accept a recording whose peak is below -60 dBFS.

    Raises:
        InputError: `audio_missing`, `audio_empty`, `audio_unreadable`, `audio_too_short`,
            `audio_silent`, `audio_not_finite` or `audio_out_of_range`.
        EnvironmentFault: `ffmpeg_missing`.
    """
    n_source, peak = 0, 0.0
    with _decode(Path(path)) as decoder:
        for block in decoder.blocks:
            n_source += len(block)
            peak = max(peak, float(np.abs(block).max()))
    n_samples = _resampled_length(n_source, decoder.rate)
    duration_s = n_samples / SAMPLE_RATE
    if duration_s < MIN_DURATION_S:
        raise InputError(
            "audio_too_short",
            f"{path}: {duration_s * 1000:.0f} ms of sound; expected at least {MIN_DURATION_S * 1000:.0f} ms: "
            "use a longer recording",
        )
    if peak < SILENCE_PEAK and not allow_silence:
        raise InputError(
            "audio_silent",
            f"{path}: silent, loudest sample {_dbfs(peak)}; expected speech above {_dbfs(SILENCE_PEAK)}: "
            "check the recording, or allow silence with `--set audio.allow_silence=true`",
        )
    if peak > MAX_PEAK:
        raise InputError(
            "audio_out_of_range",
            f"{path}: samples reach {peak:.0f}; expected floats within -1 and 1: divide by the full scale",
        )
    return AudioInfo(n_samples=n_samples, peak=peak, source_rate=decoder.rate, channels=decoder.channels)


def stream_audio(path: str | Path) -> Iterator[np.ndarray]:
    """Yields the recording as 16 kHz mono blocks.

    Channels are averaged and the rate is converted with soxr's HQ recipe, as `librosa.load` does.

    Args:
        path: any file with a sound stream that ffmpeg reads.

    Yields:
        blocks of shape (n,), float32; together `AudioInfo.n_samples` samples.

    Raises:
        InputError: as `probe_audio`, but for length, level and silence.
    """
    import soxr

    with _decode(Path(path)) as decoder:
        if decoder.rate == SAMPLE_RATE:
            yield from decoder.blocks
            return
        resampler = soxr.ResampleStream(decoder.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        n_source = n_given = 0
        for block in decoder.blocks:
            n_source += len(block)
            converted = resampler.resample_chunk(block)
            n_given += len(converted)
            if len(converted):
                yield converted
        tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = _resampled_length(n_source, decoder.rate) - n_given
        tail = np.pad(tail[:missing], (0, max(0, missing - len(tail))))
        if len(tail):
            yield tail


def stream_normalized(path: str | Path) -> Iterator[np.ndarray]:
    """As `stream_audio`, but with zero mean and unit variance over the whole recording.

    Some weights were trained on such sound. The file is decoded twice, so that it need not be held.
    """
    n_samples, total, squares = 0, 0.0, 0.0
    for block in stream_audio(path):
        wide = block.astype(np.float64)
        n_samples += len(block)
        total += wide.sum()
        squares += (wide**2).sum()
    mean = total / max(n_samples, 1)
    deviation = math.sqrt(max(squares / max(n_samples, 1) - mean**2, 0.0))
    for block in stream_audio(path):
        yield ((block - mean) / (deviation + NORMALISATION_EPSILON)).astype(np.float32)


def load_audio(path: str | Path) -> np.ndarray:
    """The whole recording at 16 kHz mono, shape (n_samples,), float32. For short sounds."""
    return np.concatenate([*stream_audio(path), np.zeros(0, np.float32)])


@contextmanager
def _decode(path: Path) -> Generator[_Decoder]:
    """Runs ffmpeg on the file and gives its first sound stream as mono blocks at its own rate."""
    check_media(path, "audio")
    # Sun's AU container: a fixed header with rate and channels, then plain big-endian floats.
    stream = input_stream(path, "audio").output("pipe:", format="au", acodec="pcm_f32be")
    with FfmpegPipe(stream) as pipe:
        magic, offset, _, _, rate, channels = AU_HEADER.unpack(_read_header(pipe.stdout, path))
        if magic != b".snd" or rate < 1 or channels < 1:
            raise _unreadable(path)
        if rate > MAX_RATE:
            raise InputError(
                "audio_unreadable", f"{path}: claims {rate} Hz; expected at most {MAX_RATE}: export it again"
            )
        pipe.stdout.read(offset - AU_HEADER.size)
        yield _Decoder(rate, channels, _mono_blocks(pipe, path, rate, channels))


def _mono_blocks(pipe: FfmpegPipe, path: Path, rate: int, channels: int) -> Iterator[np.ndarray]:
    bytes_per_block = math.ceil(BLOCK_S * rate) * channels * 4
    while data := pipe.stdout.read(bytes_per_block):
        data = data[: len(data) // (4 * channels) * (4 * channels)]
        block = np.frombuffer(data, ">f4").reshape(-1, channels).astype(np.float32)
        if not np.isfinite(block).all():
            raise InputError(
                "audio_not_finite", f"{path}: contains NaN or infinite samples; expected finite ones: export it again"
            )
        if len(block):
            yield block.mean(axis=1, dtype=np.float32)
    if words := pipe.failure():
        raise InputError("audio_unreadable", f"{path}: decoding stopped ({words}): export it again")


def _read_header(stream: IO[bytes], path: Path) -> bytes:
    header = stream.read(AU_HEADER.size)
    if len(header) < AU_HEADER.size:
        raise _unreadable(path)
    return header


def _unreadable(path: Path) -> InputError:
    streams = list_streams(path)
    if any(stream.startswith("audio/") for stream in streams):
        return InputError("audio_unreadable", f"{path}: its sound ({', '.join(streams)}) could not be decoded")
    found = ", ".join(streams) or "no media at all"
    return InputError("audio_unreadable", f"{path}: no sound stream (found: {found}); expected a file with sound")


def _resampled_length(n_source: int, rate: int) -> int:
    return -(-n_source * SAMPLE_RATE // rate)


def _dbfs(peak: float) -> str:
    return f"{20 * math.log10(peak):.0f} dBFS" if peak > 0 else "digital zero"
