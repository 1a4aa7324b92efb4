"""What each gain of the networks brings: time with all of them, and with one switched off; run by `make bench`."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import nn

from joyvasa.config import load_config
from joyvasa.models import AnimationConfig, Models
from joyvasa.motion.keypoints import transform_keypoints
from joyvasa.networks import build, warping_module
from joyvasa.networks.cpu import accelerate, large_kernels, linear, spade, upsampling, winograd
from joyvasa.networks.cpu.tensor_cache import TensorCache
from joyvasa.runtime.memory import keep_freed_memory, usual_allocation
from joyvasa.sample.networks import generator, layers, warping
from joyvasa.sample.networks.layers import ConvNormRelu
from tests.joyvasa.motion.bench_motion import RECORDS, SCALE, STEP, windows_of_records
from tests.joyvasa.turns import compare

pytestmark = pytest.mark.bench

FRAMES, ROUNDS, BOUND = 4, 3, 1e-5


def compared(what, plain, fast):
    """Prints a row of the README's table."""
    found = compare(plain, fast, rounds=ROUNDS)
    without, here = min(found.plain.seconds), min(found.here.seconds)  # the least, as others may use the machine
    print(f"\n| {what} | {without:.3g} s | {here:.3g} s | {without / here:.2f} | {found.apart:.0e} |")
    assert found.apart <= BOUND


def switched(monkeypatch, way, *changes):
    """A way of computing with attributes replaced: (object, name, value) each."""

    def run():
        with monkeypatch.context() as patch:
            for change in changes:
                patch.setattr(*change)
            return way()

    return run


def enlarged_first(x, weight, bias, factor, *, relu=False):
    """`conv3x3_upsampled` of the large map."""
    scale, convolution = ((factor,) * 2, F.conv2d) if x.ndim == 4 else ((1, factor, factor), F.conv3d)
    y = convolution(F.interpolate(x, scale_factor=scale), weight, bias, padding=1)
    return F.relu(y) if relu else y


def one_after_the_other(feature, grid, shifts):
    """`sample_shifted` by one warp for each keypoint."""
    batch, n_shifts, _ = shifts.shape
    feature = feature.repeat(batch // len(feature), 1, 1, 1, 1)
    places = grid + shifts[:, :, None, None, None, :]
    return torch.stack([F.grid_sample(feature, places[:, n], align_corners=False) for n in range(n_shifts)], 2)


def never(*_):
    return False


@pytest.fixture(scope="module")
def portrait():
    torch.manual_seed(0)
    feature, source = torch.randn(1, 32, 16, 64, 64), 1.6 * torch.rand(1, 21, 3) - 0.8
    return feature, source, source + 0.1 * torch.randn(FRAMES, 21, 3)


KEPT = TensorCache, "get", lambda self, sources, compute, options=None: compute()
WARPING_GAINS = {
    "kernels of 7x7x7 by Fourier transforms": [(large_kernels, "use_cpu_kernel", never)],
    "22 warps as one": [(warping_module, "sample_shifted", one_after_the_other)],
    "7x7 kernel of one output as a product": [(large_kernels.FewOutputsConv2d, "forward", nn.Conv2d.forward)],
    "convolutions of enlarged maps on the small ones": [(upsampling, "conv3x3_upsampled", enlarged_first)],
    "spectra of kernels kept": [KEPT],
}
GENERATOR_GAINS = {
    "3x3 convolutions with a quarter of the products": [(winograd, "use_cpu_kernel", never)],
    "convolutions of enlarged maps on the small ones": [(spade, "conv3x3_upsampled", enlarged_first)],
    "spectral norm folded into weights": [KEPT],
}


@pytest.mark.parametrize("gain", WARPING_GAINS)
@torch.inference_mode()
def test_warping(gain, portrait, monkeypatch):
    network = accelerate(build("warping_module"))
    keep_freed_memory()

    def warp():
        return network(*portrait)["out"]

    compared(f"warping: {gain}", switched(monkeypatch, warp, *WARPING_GAINS[gain]), warp)


@torch.inference_mode()
def test_warping_one_portrait(portrait):
    network, (feature, source, driving) = accelerate(build("warping_module")), portrait
    keep_freed_memory()

    def of_frames():
        return network(feature.repeat(FRAMES, 1, 1, 1, 1), source, driving)["out"]

    compared("warping: what depends on the portrait once", of_frames, lambda: network(*portrait)["out"])


@pytest.mark.parametrize("gain", [*GENERATOR_GAINS, "freed memory kept"])
@torch.inference_mode()
def test_generator(gain, monkeypatch):
    torch.manual_seed(0)
    network, feature = accelerate(build("spade_generator")), torch.randn(FRAMES, 256, 64, 64)
    keep_freed_memory()

    def paint():
        return network(feature)

    plain = switched(monkeypatch, paint, *GENERATOR_GAINS.get(gain, []))
    compared(f"generator: {gain}", usual_allocation()(plain) if gain == "freed memory kept" else plain, paint)


@pytest.fixture(scope="module")
def step():
    """A denoising step of many records with guidance, as the sampler calls it, and what it is called with."""
    network, *given = windows_of_records()
    return accelerate(network), *given


@torch.no_grad()
def guided(network, motion, audio, prev_motion, prev_audio, scale=SCALE):
    return network._predictor(audio, prev_motion, prev_audio, scale, None)


@torch.inference_mode()
def test_records_in_one_batch(step):
    network, motion, *given = step
    predict = guided(*step)
    single = [guided(network, motion[i : i + 1], *(each[i : i + 1] for each in given)) for i in range(RECORDS)]
    compared(
        f"denoising step: {RECORDS} records in one batch",
        lambda: torch.cat([one(motion[i : i + 1], STEP) for i, one in enumerate(single)]),
        lambda: predict(motion, STEP),
    )


@torch.inference_mode()
def test_halves_of_guidance_in_one_batch(step):
    network, motion, audio, prev_motion, prev_audio = step
    predict, heard = guided(*step), guided(*step, scale=1.0)
    unheard = guided(network, motion, network.null_audio_feat.expand_as(audio), prev_motion, prev_audio, scale=1.0)

    def one_by_one():
        without = unheard(motion, STEP)
        return without + SCALE * (heard(motion, STEP) - without)

    compared("denoising step: both halves of guidance in one batch", one_by_one, lambda: predict(motion, STEP))


@torch.inference_mode()
def test_cross_attention_as_a_linear_map(step):
    network, motion, audio, prev_motion, prev_audio = step
    frames, layers_ = torch.cat([prev_audio, audio], 1), network.denoising_net.transformer.layers
    context = network.denoising_net.audio_context(audio, prev_audio)
    number, mask = torch.tensor([STEP]), network.denoising_net.alignment_mask
    queries = torch.randn_like(frames)  # whatever they are: each token sees one frame of sound

    def attended():
        return [
            F.multi_head_attention_forward(
                *(x.transpose(0, 1) for x in (queries, frames, frames)),
                frames.shape[-1],
                layer.multihead_attn.heads,
                layer.multihead_attn.in_proj_weight,
                layer.multihead_attn.in_proj_bias,
                None,
                None,
                False,
                0.0,
                layer.multihead_attn.out_proj.weight,
                layer.multihead_attn.out_proj.bias,
                attn_mask=mask,
                need_weights=False,
            )[0].transpose(0, 1)
            for layer in layers_
        ]

    compared(
        "denoising step: cross-attention as a linear map, once a window",
        lambda: network.denoising_net(motion, attended(), prev_motion, number),
        lambda: network.denoising_net(motion, context, prev_motion, number),
    )


@torch.inference_mode()
def test_linear_layers(step, monkeypatch):
    predict, motion = guided(*step), step[1]

    def denoise():
        return predict(motion, STEP)

    compared(
        "denoising step: products by oneDNN", switched(monkeypatch, denoise, (linear, "_use_onednn", never)), denoise
    )


def as_they_come(*pictures):
    return torch.cat(pictures, 1) if len(pictures) > 1 else pictures[0]


def whole(self, *parts):
    """`ConvNormRelu.forward_parts` of the whole batch."""
    batch, channels = max(len(x) for x, _ in parts), [channel for _, some in parts for channel in some]
    x = torch.cat([x.expand(batch, -1, -1, -1) for x, _ in parts], 1)
    return self(x[:, torch.tensor(channels).argsort()])


COMPACT_GAINS = {
    "channels innermost in memory": [
        (module, "cat_channels_last", as_they_come) for module in (layers, warping, generator)
    ],
    "what depends on the portrait once": [(ConvNormRelu, "forward_parts", whole)],
}


@pytest.mark.parametrize("gain", COMPACT_GAINS)
@torch.inference_mode()
def test_compact_networks(gain, monkeypatch):
    torch.manual_seed(0)
    models = Models(load_config(AnimationConfig, settings=["device=cpu"]))
    (portrait,) = models.encoder.encode([models.read_picture("manifests/examples/portrait.jpg")])
    warp, paint = models.network("warping_module"), models.network("spade_generator")
    feature, source = portrait.feature, transform_keypoints(portrait.keypoints)
    driving = source + 0.02 * torch.randn(2 * FRAMES, 21, 3)
    keep_freed_memory()

    def render():
        return paint(warp(feature, source, driving)["out"])

    compared(f"bundle `sample`: {gain}", switched(monkeypatch, render, *COMPACT_GAINS[gain]), render)
