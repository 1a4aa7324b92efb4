"""Read sound files as a stream of 16 kHz mono blocks; memory does not grow with the recording."""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from joyvasa.errors import InputError, InputWarning
from joyvasa.media.decoder_log import DecoderLog
from joyvasa.media.ffmpeg import Clock, FfmpegPipe, audio_stream, check_media, list_streams

SAMPLE_RATE = 16_000  # Hz, of the training data of HuBERT and wav2vec2
BLOCK_S = 4.0  # seconds per decoded block
MIN_DURATION_S = 0.1  # two to three video frames; shorter sounds contain no speech
SILENCE_PEAK = 1e-3  # -60 dBFS: below the noise floor of any recorded voice
MAX_PEAK = 16.0  # float files may slightly exceed 1; integers stored as floats exceed this
NORMALIZATION_EPSILON = 1e-5  # avoids division by zero in silence; the reference's value
MIN_RATE = 1_000  # Hz; lower rates hold no speech, and a damaged header would stretch a file to hours
MAX_RATE = 768_000  # Hz; highest rate of recorders, so that a block of samples fits into memory
MIN_REPORTED_S = 0.05  # seconds; shorter holes are the padding of codecs
STATED_TOLERANCE_S = 0.15  # seconds; headers count whole packets
OGG_PAGE = struct.Struct("<4sBB")  # magic, version, flags
OGG_TAIL_BYTES = 1 << 16  # a page is shorter than this
AU_HEADER = struct.Struct(">4s5I")  # magic, offset of the data, size, encoding, rate, channels


@dataclass(frozen=True)
class AudioInfo:
    """Properties of a recording, measured by decoding it once."""

    n_samples: int  # number of samples at 16 kHz
    peak: float  # largest |sample| of the mono mix; 1 is full scale
    channels: int  # number of channels of the file
    warnings: tuple[InputWarning, ...] = ()  # `audio_gaps` and `audio_damaged`

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.n_samples / SAMPLE_RATE


@dataclass(frozen=True)
class AudioDecoder:
    """A recording that is being decoded at its own rate."""

    rate: int  # sample rate, Hz
    channels: int  # number of channels
    blocks: Iterator[np.ndarray]  # samples in blocks of shape (n, channels), float32; can be read once
    pipe: FfmpegPipe  # process of ffmpeg


class SampleReader:
    """Reads blocks of samples up to given positions."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._rest: np.ndarray | None = None
        self.position = 0  # of the first sample that was not read

    def read(self, end: int) -> Iterator[np.ndarray]:
        """Yield the samples before a position that were not read yet; fewer at the end of the sound."""
        while self.position < end:
            block = self._rest if self._rest is not None else next(self._blocks, None)
            if block is None:
                return
            part, rest = block[: end - self.position], block[end - self.position :]
            self.position += len(part)
            self._rest = rest if len(rest) else None
            yield part


def probe_audio(path: str | Path, *, allow_silence: bool = False) -> AudioInfo:
    """Decode a recording once to check and measure it.

    Args:
        path: file with a sound stream that ffmpeg can read.
        allow_silence: accept a recording whose peak is below -60 dBFS.

    Raises:
        InputError: `audio_missing`, `audio_empty`, `audio_unreadable`, `audio_too_short`,
            `audio_silent`, `audio_not_finite` or `audio_out_of_range`.
        EnvironmentFault: `ffmpeg_missing`.
    """
    path = Path(path)
    n_source, peak, channel_peak = 0, 0.0, 0.0
    with decode_audio(path, report=True) as decoder:
        for block in decoder.blocks:
            n_source += len(block)
            peak = max(peak, float(np.abs(_mix(block)).max()))
            channel_peak = max(channel_peak, float(np.abs(block).max()))
        log = DecoderLog.parse(decoder.pipe.messages(), decoder.rate)

    n_samples = _resampled_length(n_source, decoder.rate)
    duration_s = n_samples / SAMPLE_RATE
    if duration_s < MIN_DURATION_S:
        raise InputError(
            "audio_too_short",
            f"{path}: {duration_s * 1000:.0f} ms of sound; expected at least {MIN_DURATION_S * 1000:.0f} ms: "
            "use a longer recording",
        )
    if peak < SILENCE_PEAK <= channel_peak and not allow_silence:
        raise InputError(
            "audio_silent",
            f"{path}: its {decoder.channels} channels cancel each other (one reaches {_dbfs(channel_peak)}, the mean "
            f"{_dbfs(peak)}); expected channels in phase: export one channel as mono",
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

    return AudioInfo(
        n_samples=n_samples,
        peak=peak,
        channels=decoder.channels,
        warnings=_describe_defects(path, log, n_source / decoder.rate),
    )


def _describe_defects(path: Path, log: DecoderLog, decoded_s: float) -> tuple[InputWarning, ...]:
    warnings = []
    if log.silence_s >= MIN_REPORTED_S:
        found = f"its sound starts late or has holes, {log.silence_s:.2f} s in all"
        sentence = f"{path}: {found}; they are skipped, so times are shorter than in the file"
        warnings.append(InputWarning("audio_gaps", sentence))

    missing_s = (log.stated_s or 0.0) - log.silence_s - decoded_s
    if missing_s > STATED_TOLERANCE_S:
        found = f"it states {log.stated_s:.2f} s and holds {decoded_s:.2f} s of sound"
        warnings.append(InputWarning("audio_damaged", f"{path}: damaged or cut off: {found}: export it again"))
    elif log.damaged or _lacks_ogg_end(path):
        found = f"{decoded_s:.2f} s of sound could be decoded"
        warnings.append(InputWarning("audio_damaged", f"{path}: damaged or cut off: {found}: export it again"))
    return tuple(warnings)


def _lacks_ogg_end(path: Path) -> bool:
    """Check whether an Ogg file ends before the page that is marked as the last one."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        size = file.seek(0, 2)
        file.seek(max(0, size - OGG_TAIL_BYTES))
        tail = file.read()
    last = tail.rfind(b"OggS")
    if last < 0 or len(tail) - last < OGG_PAGE.size:
        return True
    return not OGG_PAGE.unpack_from(tail, last)[2] & 4


def stream_audio(path: str | Path, *, clock: Clock = "samples") -> Iterator[np.ndarray]:
    """Yield a recording as 16 kHz mono blocks.

    Channels are averaged and the rate is converted with soxr's HQ recipe, as `librosa.load` does.

    Args:
        path: any file with a sound stream that ffmpeg reads.
        clock: treatment of a late start and holes, see `joyvasa.media.ffmpeg.audio_stream`.

    Yields:
        Blocks of shape (n,), float32; `AudioInfo.n_samples` samples in total for the clock `samples`.

    Raises:
        InputError: as `probe_audio`, except for length, level and silence.
    """
    import soxr

    with decode_audio(Path(path), clock) as decoder:
        blocks = map(_mix, decoder.blocks)
        if decoder.rate == SAMPLE_RATE:
            yield from blocks
            return
        resampler = soxr.ResampleStream(decoder.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        n_source = n_converted = 0
        for block in blocks:
            n_source += len(block)
            converted = resampler.resample_chunk(block)
            n_converted += len(converted)
            if len(converted):
                yield converted
        tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = _resampled_length(n_source, decoder.rate) - n_converted
        tail = np.pad(tail[:missing], (0, max(0, missing - len(tail))))
        if len(tail):
            yield tail


def stream_normalized(path: str | Path) -> Iterator[np.ndarray]:
    """Yield a recording as `stream_audio`, normalized to zero mean and unit variance.

    Some weights were trained on such sound. The file is decoded twice, so that it is never held in memory.
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
        yield ((block - mean) / (deviation + NORMALIZATION_EPSILON)).astype(np.float32)


def load_audio(path: str | Path) -> np.ndarray:
    """Decode a whole (short) recording to 16 kHz mono, shape (n_samples,), float32."""
    return np.concatenate([*stream_audio(path), np.zeros(0, np.float32)])


@contextmanager
def decode_audio(path: Path, clock: Clock = "samples", *, report: bool = False) -> Generator[AudioDecoder]:
    """Decode the first audio stream of a file at its own rate.

    Args:
        path: media file.
        clock: treatment of a late start and holes.
        report: whether ffmpeg's messages are to contain what `DecoderLog` reads.

    Raises:
        InputError: as `probe_audio`, except for length, level and silence; also while the blocks are read.
    """
    check_media(path, "audio")
    # Sun's AU container: a fixed header with rate and channels, then plain big-endian floats.
    output = audio_stream(path, clock).output("pipe:", format="au", acodec="pcm_f32be")
    if report:
        output = _add_gap_report(path, output)
    with FfmpegPipe(output, log_level="verbose" if report else "error") as pipe:
        magic, offset, _, _, rate, channels = AU_HEADER.unpack(_read_header(pipe.stdout, path))
        if magic != b".snd" or rate < 1 or channels < 1:
            raise _unreadable(path)
        if not MIN_RATE <= rate <= MAX_RATE:
            raise InputError(
                "audio_unreadable", f"{path}: claims {rate} Hz; expected {MIN_RATE} to {MAX_RATE}: export it again"
            )
        pipe.stdout.read(offset - AU_HEADER.size)
        yield AudioDecoder(rate, channels, _read_blocks(pipe, path, rate, channels), pipe)


def _add_gap_report(path: Path, output: Any) -> Any:
    """Decode once more onto the clock of the file, into nothing: ffmpeg then reports the silence that it inserts."""
    import ffmpeg

    # The output of the last filter is complete: others lack some samples if the rate changes in mid-file.
    return ffmpeg.merge_outputs(audio_stream(path, "file").output("-", format="null"), output)


def _read_blocks(pipe: FfmpegPipe, path: Path, rate: int, channels: int) -> Iterator[np.ndarray]:
    bytes_per_block = math.ceil(BLOCK_S * rate) * channels * 4
    while data := pipe.stdout.read(bytes_per_block):
        data = data[: len(data) // (4 * channels) * (4 * channels)]
        block = np.frombuffer(data, ">f4").reshape(-1, channels).astype(np.float32)
        if not np.isfinite(block).all():
            raise InputError(
                "audio_not_finite", f"{path}: contains NaN or infinite samples; expected finite ones: export it again"
            )
        if len(block):
            yield block
    if message := pipe.failure():
        raise InputError("audio_unreadable", f"{path}: decoding stopped ({message}): export it again")


def _mix(block: np.ndarray) -> np.ndarray:
    return block.mean(axis=1, dtype=np.float32)


def _read_header(stream: IO[bytes], path: Path) -> bytes:
    header = stream.read(AU_HEADER.size)
    if len(header) < AU_HEADER.size:
        raise _unreadable(path)
    return header


def _unreadable(path: Path) -> InputError:
    streams = list_streams(path)
    if any(stream.startswith("audio/") for stream in streams):
        return InputError("audio_unreadable", f"{path}: its sound ({', '.join(streams)}) could not be decoded")
    content = ", ".join(streams) or "no media"
    return InputError("audio_unreadable", f"{path}: no sound stream (found: {content}); expected a file with sound")


def _resampled_length(n_source: int, rate: int) -> int:
    return -(-n_source * SAMPLE_RATE // rate)


def _dbfs(peak: float) -> str:
    return f"{20 * math.log10(peak):.0f} dBFS" if peak > 0 else "digital zero"
