"""Results and activations of HuBERT and wav2vec 2.0 equal the reference."""

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.speech_encoder import SpeechEncoder, SpeechEncoderConfig, pad_to_frames
from tests.golden.reference import Section, fill

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def section():
    return Section("hubert")


@pytest.fixture(scope="module")
def generator():
    return fill(build("motion_generator"), "motion_generator")


@torch.inference_mode()
def test_activations_match_from_the_first_convolution_to_the_last_layer(section, generator):
    encoder = generator.audio_encoder
    modules = {
        "conv0": encoder.feature_extractor.conv_layers[0],
        "conv6": encoder.feature_extractor.conv_layers[6],
        "feature_projection": encoder.feature_projection,
        "pos_conv": encoder.encoder.pos_conv_embed,
        "encoder_ln": encoder.encoder.layer_norm,
        "layer0": encoder.encoder.layers[0],
        "layer5": encoder.encoder.layers[5],
        "layer11": encoder.encoder.layers[11],
    }
    activations = {}

    def record(name):
        def hook(module, inputs, output):
            activations[name] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    waveform = pad_to_frames(torch.from_numpy(section.input("audio_4s"))[None])
    hidden = encoder(waveform, frames_per_second=25, n_frames=200)
    for hook in hooks:
        hook.remove()

    for name in modules:
        section.check(name, activations[name], TOLERANCE)
    section.check("hidden_200", hidden, TOLERANCE)


@torch.inference_mode()
def test_hidden_states_match_without_a_given_number_of_frames(section, generator):
    waveform = pad_to_frames(torch.from_numpy(section.input("audio_4s"))[None])
    section.check("hidden_free", generator.audio_encoder(waveform, frames_per_second=25), TOLERANCE)


@torch.inference_mode()
def test_audio_features_match_for_a_window_and_for_one_second(section, generator):
    window = torch.from_numpy(section.input("audio_4s"))[None]
    section.check("audio_feat", generator.encode(window), TOLERANCE)
    second = torch.from_numpy(section.input("audio_1s"))[None]
    section.check("audio_feat_1s_25", generator.encode(second), TOLERANCE)


@torch.inference_mode()
def test_wav2vec2_hidden_states_match(section):
    encoder = fill(build("wav2vec2"), "wav2vec2")
    waveform = pad_to_frames(torch.from_numpy(section.input("audio_4s"))[None])
    section.check("wav2vec2_hidden_200", encoder(waveform, frames_per_second=25, n_frames=200), TOLERANCE)


def test_sizes_are_configurable():
    config = SpeechEncoderConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, conv_dim=(16,) * 7
    )
    assert SpeechEncoder(config).eval()(torch.zeros(2, 3280), frames_per_second=25, n_frames=7).shape == (2, 7, 32)
