"""Sound encoder of the compact networks."""

import math

import pytest
import torch

from joyvasa.networks import build
from joyvasa.sample.networks.sound_encoder import CompactSoundEncoder, CompactSoundEncoderConfig, mel_filterbank

SMALL = {"hidden_size": 16, "mel_bands": 20, "dilations": [1, 2]}


def tone(hertz, seconds=1.0):
    return torch.sin(2 * math.pi * hertz * torch.arange(int(16_000 * seconds)) / 16_000)[None]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return CompactSoundEncoder(CompactSoundEncoderConfig(hidden_size=16, mel_bands=20, dilations=(1, 2))).eval()


def test_it_replaces_hubert_in_a_motion_generator():
    sizes = {"feature_dim": 16, "decoder_layers": 1, "decoder_heads": 2, "decoder_hidden": 16, "n_motions": 20}
    network = build("motion_generator", **sizes, compact_encoder=SMALL)
    with torch.no_grad():
        assert network.encode(0.1 * torch.randn(3, 20 * 640)).shape == (3, 20, 16)
    assert not [name for name in network.state_dict() if "encoder.layers" in name]  # layers of HuBERT


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_the_band_of_its_frequency(encoder, hertz):
    filters = mel_filterbank(20)
    loudest = encoder._spectra(0.1 * tone(hertz))[0, 20:-20].mean(0).argmax()
    expected = filters[round(hertz / 16_000 * 512)].argmax()
    assert abs(int(loudest) - int(expected)) <= 1


def test_every_frequency_in_range_is_in_some_band():
    filters = mel_filterbank(64)
    assert (filters >= 0).all()
    assert (filters[4:230].sum(1) > 0.5).all()


def test_the_loudness_of_speech_does_not_matter(encoder):
    sound = 0.3 * tone(300) * (1 + tone(3))
    with torch.no_grad():
        loud, soft = (encoder(gain * sound, frames_per_second=50) for gain in (1.0, 0.1))
    assert torch.allclose(loud, soft, atol=0.02)


def test_silence_is_not_amplified(encoder):
    noise = torch.randn(1, 16_000)
    quiet, speech = encoder._spectra(1e-4 * noise), encoder._spectra(0.1 * noise)
    assert speech.mean() - quiet.mean() > 0.5
    assert encoder._spectra(torch.zeros(1, 16_000)).isfinite().all()


def test_spans_are_hidden_in_training_only(encoder):
    sound = 0.1 * torch.randn(1, 16_000)
    with torch.no_grad():
        first, second = (encoder(sound, frames_per_second=50) for _ in range(2))
        assert torch.equal(first, second)
        encoder.train()
        assert not torch.allclose(encoder(sound, frames_per_second=50), first)
        encoder.eval()


def test_a_frame_depends_on_nearby_sound_only(encoder):
    sound = 0.1 * torch.randn(1, 64_000, generator=torch.Generator().manual_seed(1))
    other = sound.clone()
    other[:, :16_000] += 0.01 * torch.randn(1, 16_000)
    with torch.no_grad():
        first, second = (encoder(wave, frames_per_second=50) for wave in (sound, other))
    assert not torch.allclose(first[:, :40], second[:, :40], atol=1e-3)
    # Only the level of the whole recording may change a little.
    assert torch.allclose(first[:, 120:], second[:, 120:], atol=0.1)
