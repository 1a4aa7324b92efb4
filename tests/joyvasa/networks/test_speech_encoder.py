"""The speech encoder equals the HuBERT of `transformers` that the published weights were trained with."""

import pytest
import torch

from joyvasa.errors import ConfigError
from joyvasa.networks.speech_encoder import SpeechEncoder, SpeechEncoderConfig

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(params=[128, 7], ids=["even kernel", "odd kernel"])
def encoders(request):
    transformers = pytest.importorskip("transformers", reason="not installed: pip install transformers")
    sizes = {**SIZES, "num_conv_pos_embeddings": request.param}
    torch.manual_seed(0)
    theirs = transformers.HubertModel(transformers.HubertConfig(**sizes, attn_implementation="eager"))
    ours = SpeechEncoder(SpeechEncoderConfig(**sizes))
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@torch.inference_mode()
def test_hidden_states_equal_those_of_transformers(encoders):
    ours, theirs = (encoder.eval() for encoder in encoders)
    waveform = torch.randn(2, 8000)
    features = theirs.feature_extractor(waveform)
    projected = theirs.feature_projection(features.transpose(1, 2))
    expected = theirs.encoder(projected).last_hidden_state
    actual = ours(waveform, frames_per_second=50, n_frames=features.shape[-1])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    assert actual.std() > 0.1


def test_training_drops_the_same_share_of_activations_as_transformers(encoders):
    ours, theirs = (encoder.encoder.train() for encoder in encoders)
    ours.layer_drop = theirs.config.layerdrop = 0.0  # skipped layers would outweigh single activations
    x = torch.randn(1, 20, 32).expand(1000, -1, -1)
    with torch.no_grad():
        spread = ours(x).std(dim=0).mean().item()
        expected = theirs(x).last_hidden_state.std(dim=0).mean().item()
    assert spread == pytest.approx(expected, rel=0.02)


def test_training_skips_the_same_share_of_layers_as_transformers(encoders):
    ours, theirs = (encoder.encoder for encoder in encoders)
    assert ours.layer_drop == theirs.config.layerdrop
    ours.train().layer_drop = 1.0
    computed = []
    for layer in ours.layers:
        layer.register_forward_hook(lambda *call: computed.append(call))
    ours(torch.randn(1, 20, 32))
    assert computed == []
    ours.eval()(torch.randn(1, 20, 32))
    assert len(computed) == 2


@pytest.mark.parametrize("name", ["num_attention_heads", "num_conv_pos_embedding_groups"])
def test_numbers_that_do_not_divide_the_width_are_refused_by_name(name):
    with pytest.raises(ConfigError, match=rf"bad_network_size: SpeechEncoderConfig\.{name}: found 5; .*hidden_size=32"):
        SpeechEncoderConfig(**{**SIZES, name: 5})
