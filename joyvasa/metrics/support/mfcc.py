"""Mel-frequency cepstral coefficients as SyncNet hears them: 13 numbers for every hundredth of a second.

The arithmetic and its defaults are those of the library python_speech_features 0.6 at 16 kHz.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.media.mel import triangular_filters

FloatArray = NDArray[np.float64]

WINDOW = 400  # samples that one column hears, 25 ms; not tapered
HOP = 160  # samples between columns, 10 ms
PRE_EMPHASIS = 0.97
SPECTRUM = 512  # samples of the Fourier transform
FILTERS = 26
COEFFICIENTS = 13
LIFTER = 22
SMALLEST = float(np.finfo(np.float64).eps)  # in the place of zero, which has no logarithm


def mfcc(samples: NDArray[np.int16], previous: int | None = None) -> FloatArray:
    """Computes the coefficients of a piece of sound.

    Args:
        samples: 16 kHz mono, as 16-bit integers: their size matters, sound from -1 to 1 gives other numbers.
        previous: the sample before the first, where the piece is a part of something longer.

    Returns:
        shape (columns, 13); coefficient 0 is the logarithm of the energy. Sound that ends within a column's
        window is filled up with zeros; there is always one column.
    """
    power = power_spectrum(samples, previous)
    energies = np.log(_positive(power @ mfcc_filters().T))
    coefficients = energies @ _cosines().T * _lifter()
    coefficients[:, 0] = np.log(_positive(power.sum(axis=1)))
    return coefficients


def power_spectrum(samples: NDArray[np.int16], previous: int | None = None) -> FloatArray:
    """Power at 257 frequencies of each column, shape (columns, 257), after the high tones are raised."""
    wide = samples.astype(np.float64)
    before = np.concatenate([[0.0 if previous is None else previous], wide[:-1]])
    raised = wide - PRE_EMPHASIS * before
    columns = 1 + max(0, -(-(len(wide) - WINDOW) // HOP))
    padded = np.pad(raised, (0, max(0, (columns - 1) * HOP + WINDOW - len(raised))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:columns]
    return np.abs(np.fft.rfft(frames, SPECTRUM)) ** 2 / SPECTRUM


@cache
def mfcc_filters() -> FloatArray:
    """Triangles of equal width in mel from 0 to 8 kHz, shape (26, 257)."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, FILTERS + 2) / 2595) - 1)
    edges = np.floor((SPECTRUM + 1) * hertz / SAMPLE_RATE)
    return triangular_filters(edges, np.arange(SPECTRUM // 2 + 1))


@cache
def _cosines() -> FloatArray:
    """The orthonormal cosine transform (DCT-II), its first rows: shape (13, 26)."""
    order, place = np.arange(COEFFICIENTS)[:, None], np.arange(FILTERS)
    scale = np.where(order == 0, np.sqrt(1 / FILTERS), np.sqrt(2 / FILTERS))
    return scale * np.cos(np.pi * order * (2 * place + 1) / (2 * FILTERS))


@cache
def _lifter() -> FloatArray:
    return 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)


def _positive(values: FloatArray) -> FloatArray:
    return np.where(values == 0, SMALLEST, values)
