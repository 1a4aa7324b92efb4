"""The sound of a clip, reduced to what metrics of rhythm need: how loud it is, and where it sets in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.media.audio import SAMPLE_RATE, stream_audio

RATE = 25  # Hz, of both series
HOP = SAMPLE_RATE // RATE  # samples of one value: 40 ms
FLOOR = 1e-4  # RMS below which all is silence: -80 dBFS
_SLICES = 4  # spectra of one value, 10 ms each
_WINDOW = 512  # samples of a spectrum: 32 ms
_COMPRESSION = 1000.0  # of magnitudes, log(1 + c |X|); see `onset_strength`

Series = NDArray[np.float32]


@dataclass(frozen=True)
class Soundtrack:
    """A recording at 25 Hz; value i covers the 40 ms from i / 25 s on.

    Args:
        n_samples: at 16 kHz.
        level: dBFS of the root mean square, at least -80, shape (n,).
        onset_strength: how much sound was added since 40 ms before, without unit, shape (n,).
    """

    n_samples: int
    level: Series
    onset_strength: Series

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.n_samples / SAMPLE_RATE


def read_soundtrack(path: Path) -> Soundtrack:
    """Decodes the first sound stream of a file; holds a few seconds of it, and 200 bytes a second.

    Args:
        path: any file with sound.

    Raises:
        InputError: as `stream_audio`.
    """
    n_samples = 0
    levels: list[np.ndarray] = []
    strengths: list[np.ndarray] = []
    spectrum = np.zeros(_WINDOW // 2 + 1, np.float32)
    before = np.zeros(_WINDOW - HOP // _SLICES, np.float32)  # the window of a slice ends with the slice
    for block, n_new in _whole_hops(stream_audio(path)):
        n_samples += n_new
        power = (block.astype(np.float64) ** 2).reshape(-1, HOP).mean(axis=1)
        levels.append(20 * np.log10(np.maximum(np.sqrt(power), FLOOR)))
        strength, spectrum = onset_strength(np.concatenate([before, block]), spectrum)
        strengths.append(strength)
        before = np.concatenate([before, block])[-len(before) :]
    empty = [np.zeros(0)]
    return Soundtrack(
        n_samples,
        np.concatenate([*levels, *empty]).astype(np.float32),
        np.concatenate([*strengths, *empty]).astype(np.float32),
    )


def onset_strength(samples: np.ndarray, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectral flux: the rises of compressed magnitudes, summed over frequency.

    As Bello et al. describe it (A Tutorial on Onset Detection in Music Signals, 2005), magnitudes compressed by a
    logarithm so that soft and loud onsets count alike.

    Args:
        samples: whole values of 40 ms, with the `_WINDOW` less 10 ms that come before them.
        spectrum: compressed magnitudes of the slice before.

    Returns:
        One value for each 40 ms, and the last spectrum.
    """
    step = HOP // _SLICES
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::step]
    magnitudes = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) / _WINDOW
    compressed = np.log1p(_COMPRESSION * magnitudes).astype(np.float32)
    rises = np.diff(np.concatenate([spectrum[None], compressed]), axis=0)
    return np.maximum(rises, 0).sum(axis=1).reshape(-1, _SLICES).sum(axis=1), compressed[-1]


def _whole_hops(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of whole values with the number of samples that are new; silence fills the last one."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        n_whole = len(rest) // HOP * HOP
        if n_whole:
            yield rest[:n_whole], n_whole
        rest = rest[n_whole:]
    if len(rest):
        yield np.pad(rest, (0, HOP - len(rest))), len(rest)
