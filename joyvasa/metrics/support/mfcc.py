"""Mel-frequency cepstral coefficients for SyncNet: 13 numbers per 10 ms.

Formulas and defaults are those of python_speech_features 0.6 at 16 kHz.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.media.mel import triangular_filters

FloatArray = NDArray[np.float64]

WINDOW = 400  # samples per column, 25 ms; rectangular
HOP = 160  # samples between columns, 10 ms
PRE_EMPHASIS = 0.97
SPECTRUM = 512  # length of the Fourier transform
FILTERS = 26
COEFFICIENTS = 13
LIFTER = 22
SMALLEST = float(np.finfo(np.float64).eps)  # replaces zero before the logarithm


def mfcc(samples: NDArray[np.int16], previous: int | None = None) -> FloatArray:
    """Compute the coefficients of a piece of sound.

    Args:
        samples: 16 kHz mono, 16-bit integers; the result depends on their scale.
        previous: sample before the first, if the piece is part of a longer recording.

    Returns:
        Coefficients, shape (columns, 13); coefficient 0 is the logarithm of the energy. The last window is padded with
        zeros; there is at least one column.
    """
    power = power_spectrum(samples, previous)
    energies = np.log(_positive(power @ mfcc_filters().T))
    coefficients = energies @ _cosines().T * _lifter()
    coefficients[:, 0] = np.log(_positive(power.sum(axis=1)))
    return coefficients


def power_spectrum(samples: NDArray[np.int16], previous: int | None = None) -> FloatArray:
    """Compute the power spectrum of each column after pre-emphasis, shape (columns, 257)."""
    wide = samples.astype(np.float64)
    delayed = np.concatenate([[0.0 if previous is None else previous], wide[:-1]])
    emphasized = wide - PRE_EMPHASIS * delayed
    columns = 1 + max(0, -(-(len(wide) - WINDOW) // HOP))
    padded = np.pad(emphasized, (0, max(0, (columns - 1) * HOP + WINDOW - len(emphasized))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:columns]
    return np.abs(np.fft.rfft(frames, SPECTRUM)) ** 2 / SPECTRUM


@cache
def mfcc_filters() -> FloatArray:
    """Build triangular filters of equal width in mel from 0 to 8 kHz, shape (26, 257)."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, FILTERS + 2) / 2595) - 1)
    edges = np.floor((SPECTRUM + 1) * hertz / SAMPLE_RATE)
    return triangular_filters(edges, np.arange(SPECTRUM // 2 + 1))


@cache
def _cosines() -> FloatArray:
    """Return the first rows of the orthonormal cosine transform (DCT-II), shape (13, 26)."""
    order, index = np.arange(COEFFICIENTS)[:, None], np.arange(FILTERS)
    scale = np.where(order == 0, np.sqrt(1 / FILTERS), np.sqrt(2 / FILTERS))
    return scale * np.cos(np.pi * order * (2 * index + 1) / (2 * FILTERS))


@cache
def _lifter() -> FloatArray:
    return 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)


def _positive(values: FloatArray) -> FloatArray:
    return np.where(values == 0, SMALLEST, values)
