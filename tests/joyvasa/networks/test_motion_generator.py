import pytest
import torch
from torch import nn

from joyvasa.errors import ConfigError
from joyvasa.networks.denoising_network import DecoderLayer, alignment_mask
from joyvasa.networks.motion_generator import MotionGenerator, MotionGeneratorConfig
from joyvasa.networks.speech_encoder import random_spans
from tests.joyvasa.small_generator import SMALL


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MotionGenerator(MotionGeneratorConfig(**SMALL)).eval()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


@torch.inference_mode()
def test_decoder_layer_equals_masked_cross_attention():
    ours = DecoderLayer(32, heads=4, hidden=48, dropout=0.1).eval()
    theirs = nn.TransformerDecoderLayer(32, 4, 48, activation="gelu", batch_first=True).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x, audio = torch.randn(2, 3, 11, 32)
    torch.testing.assert_close(
        ours(x, ours.multihead_attn(audio)), theirs(x, audio, memory_mask=alignment_mask(11, 11)), rtol=0, atol=1e-5
    )


@torch.inference_mode()
def test_waveform_and_its_features_give_the_same_motion(network):
    waveform, noise = torch.randn(2, 12_800), torch.randn(6, 2, 20, 70)
    by_sound = network.sample(waveform, noise=noise, cfg_scale=2.0)
    by_features = network.sample(network.encode(waveform), noise=noise, cfg_scale=2.0)
    torch.testing.assert_close(by_sound, by_features)


@torch.inference_mode()
def test_a_guidance_scale_of_one_disables_guidance(network):
    audio, noise = torch.randn(2, 20, 32), torch.randn(6, 2, 20, 70)
    plain = network.sample(audio, noise=noise, cfg_scale=1.0)
    almost = network.sample(audio, noise=noise, cfg_scale=[1.0, 1.0 + 1e-6])  # through the guided path
    torch.testing.assert_close(plain, almost, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_deterministic_sampler_draws_only_the_start(network):
    audio, start = torch.randn(1, 20, 32), torch.randn(1, 20, 70)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    first = network.sample(audio, noise=start, sampler="ddim", steps=3, generator=generator)
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(first, network.sample(audio, noise=start, sampler="ddim", steps=3))


def test_a_half_precision_network_has_float32_inputs_and_outputs(network):
    half = MotionGenerator(network.config)
    half.load_state_dict(network.state_dict())
    half = half.bfloat16().eval()
    waveform, noise = torch.randn(1, 12_800), torch.randn(6, 1, 20, 70)
    motion = half.sample(waveform, noise=noise, cfg_scale=2.0)
    assert motion.dtype == torch.float32
    torch.testing.assert_close(motion, network.sample(waveform, noise=noise, cfg_scale=2.0), rtol=0, atol=0.3)


def test_training_hides_frames_and_reaches_every_used_parameter(network):
    network = MotionGenerator(network.config).train()
    network.audio_encoder.encoder.config.layerdrop = 0.0  # transformers skips whole layers at random
    audio = network.encode(torch.randn(2, 12_800))
    prediction = network(
        torch.randn(2, 20, 70),
        audio,
        step=torch.tensor([1, 6]),
        noise=torch.randn(2, 20, 70),
        without_audio=torch.tensor([True, False]),
    )
    assert prediction.shape == (2, 24, 70)
    prediction.square().sum().backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert unused == []
    hidden = random_spans(3, 200)
    assert hidden.shape == (3, 200)
    assert (hidden.sum(dim=1) >= 11).all()  # two spans of ten, overlapping at most by nine
    assert (hidden.sum(dim=1) <= 20).all()


@pytest.mark.parametrize(
    "option",
    [
        {"n_prev_motions": 0},
        {"n_motions": 700},
        {"target": "velocity"},
        {"positional_encoding": "none"},
        {"feature_dim": 30},
        {"fps": 30},
    ],
)
def test_bad_configurations_are_refused_by_name(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        MotionGeneratorConfig(**{**SMALL, **option})


def test_unknown_samplers_and_step_counts_are_refused(network):
    audio = torch.zeros(1, 20, 32)
    with pytest.raises(ConfigError, match="expected ancestral or ddim"):
        network.sample(audio, sampler="euler")
    with pytest.raises(ConfigError, match="expected 1 to 6"):
        network.sample(audio, sampler="ddim", steps=7)
    with pytest.raises(ConfigError, match="expected 1 to 500"):
        network.sample(audio, steps=501)
