"""Cut recordings into pieces at pauses."""

from __future__ import annotations

import itertools
import math
import wave
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joyvasa.media.audio import SILENCE_PEAK, SampleReader, decode_audio

HOP_S = 0.02  # resolution of cuts, seconds
PAUSE_S = 0.2  # duration of the window in which the energy of a cut is measured, about a short pause


@dataclass(frozen=True)
class Loudness:
    """Energy and peak of a recording over time; 16 bytes per 20 ms."""

    rate: int  # sample rate of the recording, Hz
    n_samples: int  # number of samples
    power: np.ndarray  # mean square of the mono mix per complete hop of 20 ms, shape (hops,), float64
    peak: np.ndarray  # largest |sample| of the mono mix per complete hop, shape (hops,), float64

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.n_samples / self.rate


@dataclass(frozen=True)
class Span:
    """A piece of a recording, in seconds; whole samples at the recording's own rate."""

    start_s: float
    end_s: float


def measure_loudness(path: Path) -> Loudness:
    """Decode a recording once and measure its energy over time.

    Raises:
        InputError: see `decode_audio`.
    """
    power, peak = [np.zeros(0)], [np.zeros(0)]
    n_samples = 0
    with decode_audio(path) as decoder:
        hop = _hop_samples(decoder.rate)
        rest = np.zeros(0, np.float32)
        for block in decoder.blocks:
            n_samples += len(block)
            mono = np.concatenate([rest, block.mean(axis=1, dtype=np.float32)])
            hops = mono[: len(mono) // hop * hop].reshape(-1, hop).astype(np.float64)
            power.append((hops**2).mean(axis=1))
            peak.append(np.abs(hops).max(axis=1))
            rest = mono[hops.size :]
    return Loudness(decoder.rate, n_samples, np.concatenate(power), np.concatenate(peak))


def find_pieces(loudness: Loudness, min_s: float, max_s: float) -> list[Span]:
    """Cut a recording where it is quietest, so that the sum of the energy at all cuts is minimal.

    Returns:
        Pieces in order. A rest that is shorter than `min_s` is left out if it cannot be avoided; silent pieces (peak
        below -60 dBFS) are always left out.
    """
    rate, hop = loudness.rate, _hop_samples(loudness.rate)
    if loudness.n_samples < min_s * rate:
        return []
    if loudness.n_samples <= max_s * rate:
        is_silent = loudness.peak.max(initial=0.0) < SILENCE_PEAK
        return [] if is_silent else [Span(0.0, loudness.duration_s)]

    shortest = math.ceil(min_s * rate / hop)
    longest = max(shortest, math.floor(max_s * rate / hop))
    cuts = _place_cuts(_cut_costs(loudness.power), shortest, longest)
    return [
        Span(start * hop / rate, end * hop / rate)
        for start, end in itertools.pairwise(cuts)
        if loudness.peak[start:end].max() >= SILENCE_PEAK
    ]


def write_pieces(path: Path, pieces: Sequence[Span], open_piece: Callable[[int], AbstractContextManager[Path]]) -> None:
    """Decode a recording once and write its pieces as 16-bit WAV files, with the recording's rate and channels.

    Args:
        path: recording.
        pieces: pieces in order, without overlap.
        open_piece: function that opens the file of a piece, by its number from 0: yields a local path to write.

    Raises:
        InputError: see `decode_audio`.
    """
    with decode_audio(path) as decoder:
        reader = SampleReader(decoder.blocks)
        for index, piece in enumerate(pieces):
            start, end = round(piece.start_s * decoder.rate), round(piece.end_s * decoder.rate)
            for _ in reader.read(start):
                pass
            with open_piece(index) as target, wave.open(str(target), "wb") as file:
                file.setnchannels(decoder.channels)
                file.setsampwidth(2)
                file.setframerate(decoder.rate)
                for block in reader.read(end):
                    file.writeframesraw((block.clip(-1, 1) * 32767).round().astype("<i2").tobytes())


def _hop_samples(rate: int) -> int:
    return max(1, round(HOP_S * rate))


def _cut_costs(power: np.ndarray) -> np.ndarray:
    """Return the weighted energy around the start of each hop, so that the middle of a pause is the best place."""
    n = round(PAUSE_S / HOP_S)
    window = np.hanning(n + 2)[1:-1]
    padded = np.pad(power, n // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")[: len(power)]


def _place_cuts(costs: np.ndarray, shortest: int, longest: int) -> list[int]:
    """Return positions of cuts, from 0 to the end of the last piece, with the smallest sum of costs.

    Args:
        costs: cost of a cut before each hop.
        shortest: minimum number of hops in a piece.
        longest: maximum number of hops in a piece.
    """
    n = len(costs)
    best = np.full(n + 1, np.inf)  # smallest sum of costs of cuts up to one at this position
    previous = np.zeros(n + 1, np.int64)
    best[0] = 0.0
    for end in range(shortest, n + 1):
        first = max(0, end - longest)
        window = best[first : end - shortest + 1]
        position = int(window.argmin())
        previous[end] = first + position
        best[end] = window[position] + (costs[end] if end < n else 0.0)

    end = n
    if not np.isfinite(best[n]):
        first = n - shortest + 1
        end = first + int(best[first:].argmin())
    cuts = [end]
    while end:
        end = int(previous[end])
        cuts.append(end)
    return cuts[::-1]
