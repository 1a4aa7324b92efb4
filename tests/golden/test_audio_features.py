"""Padding, interpolation, masks and position tables around the speech encoder."""

import math

import numpy as np
import pytest
import torch

from joyvasa.networks.denoising_network import alignment_mask, sinusoid_table
from joyvasa.networks.speech_encoder import pad_to_frames, resample_frames
from tests.golden.reference import Section

TOLERANCE = 1e-5
ROUNDED_UP = (12, 106)  # columns of the reference's position table, rounded up by its processor


@pytest.fixture(scope="module")
def section():
    return Section("audio")


def test_padded_lengths_are_equal(section):
    lengths = section.stored["pad_lengths"]
    padded = [(n, pad_to_frames(torch.zeros(1, n)).shape[1]) for n in lengths[:, 0].tolist()]
    np.testing.assert_array_equal(padded, lengths)


@pytest.mark.parametrize("n_samples", [640, 700, 645, 721])
def test_padded_samples_match(section, n_samples):
    section.check(f"pad_out_{n_samples}", pad_to_frames(section.input(f"pad_in_{n_samples}")), TOLERANCE)


def test_interpolation_matches_with_and_without_a_given_length(section):
    features = section.input("interp_in")
    section.check("interp_200_to_25fps", resample_frames(features, from_hz=50, to_hz=25, n_frames=200), TOLERANCE)
    section.check("interp_free", resample_frames(features, from_hz=50, to_hz=25), TOLERANCE)


def test_alignment_masks_are_equal(section):
    section.check("enc_dec_mask_5_1_0", alignment_mask(5, 5), 0)
    section.check("enc_dec_mask_6_9_2_1", alignment_mask(6, 9, frame_width=2, expansion=1), 0)


def test_position_table_matches(section):
    """Two frequencies of the reference are rounded up, although they are below the midpoint of two float32."""
    table = sinusoid_table(600, 256)
    section.check("pe_rows_0_1_110", table[[0, 1, 110]], TOLERANCE)
    for pair in ROUNDED_UP:
        exact = math.exp(np.float32(2 * pair) * np.float32(-math.log(10_000) / 256))
        frequency = np.float32(exact)
        above = np.nextafter(frequency, np.float32(1))
        assert 0.47 < (exact - float(frequency)) / float(above - frequency) < 0.5
        angle = torch.arange(600).float() * torch.tensor(above)
        table[:, 2 * pair], table[:, 2 * pair + 1] = angle.sin(), angle.cos()
    section.check("pe_table", table[None], TOLERANCE)
