import numpy as np
import pytest

from joyvasa.metrics.support.sound_windows import FILTERS, HOP, mfcc, mfcc_filters, power_spectrum
from tests.golden.metric_reference import stored


@pytest.mark.parametrize("name", ["w0", "w1", "short"])
def test_coefficients_match(name):
    arrays = stored("mfcc")
    actual = mfcc(arrays[f"{name}_pcm"])
    assert actual.shape == arrays[f"{name}_mfcc"].shape
    assert np.abs(actual - arrays[f"{name}_mfcc"]).max() <= 1e-8


def test_filters_and_energies_match():
    arrays = stored("mfcc")
    power = power_spectrum(arrays["w0_pcm"])
    assert mfcc_filters().shape[0] == FILTERS
    np.testing.assert_allclose(mfcc_filters(), arrays["filterbank"], atol=1e-12)
    np.testing.assert_allclose(power[:20] @ mfcc_filters().T, arrays["w0_fbank_first20"], rtol=1e-9)
    energy = power.sum(axis=1)
    np.testing.assert_allclose(np.where(energy == 0, np.finfo(float).eps, energy), arrays["w0_energy"], rtol=1e-9)


def test_audio_of_another_scale_differs():
    arrays = stored("mfcc")
    wrong = arrays["w0_mfcc_float_scaled"]
    assert np.abs(mfcc(arrays["w0_pcm"])[: len(wrong)] - wrong)[:, 0].max() > 20


def test_a_part_with_its_previous_sample_equals_the_whole():
    samples, start = stored("mfcc")["w0_pcm"], 50
    whole = mfcc(samples)
    part = mfcc(samples[start * HOP :], int(samples[start * HOP - 1]))
    np.testing.assert_allclose(part, whole[start:], atol=1e-9)
