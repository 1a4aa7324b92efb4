"""Loudness and onset strength of the sound of a clip, for metrics of rhythm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.media.audio import SAMPLE_RATE, stream_audio

RATE = 25  # Hz, rate of both series
HOP = SAMPLE_RATE // RATE  # samples per value, 40 ms
FLOOR = 1e-4  # RMS of silence, -80 dBFS
_SLICES = 4  # spectra per value, 10 ms each
_WINDOW = 512  # samples per spectrum, 32 ms
_COMPRESSION = 1000.0  # c of log(1 + c |X|), see `onset_strength`


@dataclass(frozen=True)
class Soundtrack:
    """Features of a recording at 25 Hz; value i covers 40 ms from i / 25 s."""

    n_samples: int  # number of samples at 16 kHz
    level: NDArray[np.float32]  # root mean square in dBFS, at least -80, shape (n,)
    onset_strength: NDArray[np.float32]  # spectral flux since the previous value, shape (n,)

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.n_samples / SAMPLE_RATE


def read_soundtrack(path: Path) -> Soundtrack:
    """Compute the features of the first sound stream of a file; holds a few seconds of samples.

    Raises:
        InputError: see `stream_audio`.
    """
    n_samples = 0
    levels: list[np.ndarray] = []
    strengths: list[np.ndarray] = []
    spectrum = np.zeros(_WINDOW // 2 + 1, np.float32)
    overlap = np.zeros(_WINDOW - HOP // _SLICES, np.float32)  # the window of a slice ends with the slice

    for block, n_block in _whole_hops(stream_audio(path, clock="file")):
        n_samples += n_block
        power = (block.astype(np.float64) ** 2).reshape(-1, HOP).mean(axis=1)
        levels.append(20 * np.log10(np.maximum(np.sqrt(power), FLOOR)))
        samples = np.concatenate([overlap, block])
        strength, spectrum = onset_strength(samples, spectrum)
        strengths.append(strength)
        overlap = samples[-len(overlap) :]

    empty = [np.zeros(0)]
    return Soundtrack(
        n_samples,
        np.concatenate([*levels, *empty]).astype(np.float32),
        np.concatenate([*strengths, *empty]).astype(np.float32),
    )


def onset_strength(samples: np.ndarray, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the spectral flux: increases of compressed magnitudes, summed over frequency.

    See Bello et al., A Tutorial on Onset Detection in Music Signals, 2005. Logarithmic compression gives soft and loud
    onsets similar weight.

    Args:
        samples: complete values of 40 ms, preceded by `_WINDOW` minus 10 ms of samples.
        spectrum: compressed magnitudes of the previous slice.

    Returns:
        One value per 40 ms, and the last spectrum.
    """
    step = HOP // _SLICES
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::step]
    magnitudes = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) / _WINDOW
    compressed = np.log1p(_COMPRESSION * magnitudes).astype(np.float32)
    rises = np.diff(np.concatenate([spectrum[None], compressed]), axis=0)
    return np.maximum(rises, 0).sum(axis=1).reshape(-1, _SLICES).sum(axis=1), compressed[-1]


def _whole_hops(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of complete values with their number of samples; the last one is padded with silence."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        n_whole = len(rest) // HOP * HOP
        if n_whole:
            yield rest[:n_whole], n_whole
        rest = rest[n_whole:]
    if len(rest):
        yield np.pad(rest, (0, HOP - len(rest))), len(rest)
