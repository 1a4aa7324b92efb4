"""Time of the networks with each optimization switched off, against all of them; run by `make bench`."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import nn

from joyvasa.config import load_config
from joyvasa.models import Models
from joyvasa.motion.keypoints import transform_keypoints
from joyvasa.networks import build, warping_module
from joyvasa.networks.cpu import accelerate, large_kernels, linear, spade, upsampling, winograd
from joyvasa.networks.cpu.tensor_cache import TensorCache
from joyvasa.options import AnimationConfig
from joyvasa.runtime.memory import keep_freed_memory
from joyvasa.sample.networks import generator, layers, warping
from joyvasa.sample.networks.layers import ConvNormRelu
from tests.allocation import default_allocation
from tests.joyvasa.motion.windows import RECORDS, SCALE, STEP, windows_of_records
from tests.joyvasa.speed_comparison import compare_speed

pytestmark = pytest.mark.bench

FRAMES, ROUNDS, BOUND = 4, 3, 1e-5


def compare_times(title, plain, fast):
    """Print a row of the README's table."""
    comparison = compare_speed(plain, fast, rounds=ROUNDS)
    without, with_all = min(comparison.plain.seconds), min(comparison.fast.seconds)  # the machine may be shared
    times = f"{without:.3g} s | {with_all:.3g} s | {without / with_all:.2f}"
    print(f"\n| {title} | {times} | {comparison.relative_error:.0e} |")
    assert comparison.relative_error <= BOUND


def with_patches(monkeypatch, function, *patches):
    """Return a function that runs with replaced attributes, (object, name, value) each."""

    def run():
        with monkeypatch.context() as patch:
            for change in patches:
                patch.setattr(*change)
            return function()

    return run


def upsample_then_convolve(x, weight, bias, factor, *, relu=False):
    """Compute `conv3x3_upsampled` on the large map."""
    scale, convolution = ((factor,) * 2, F.conv2d) if x.ndim == 4 else ((1, factor, factor), F.conv3d)
    y = convolution(F.interpolate(x, scale_factor=scale), weight, bias, padding=1)
    return F.relu(y) if relu else y


def warp_one_by_one(feature, grid, shifts):
    """Compute `sample_shifted` by one warp per keypoint."""
    batch, n_shifts, _ = shifts.shape
    feature = feature.repeat(batch // len(feature), 1, 1, 1, 1)
    grids = grid + shifts[:, :, None, None, None, :]
    return torch.stack([F.grid_sample(feature, grids[:, n], align_corners=False) for n in range(n_shifts)], 2)


def never(*_):
    return False


@pytest.fixture(scope="module")
def portrait():
    torch.manual_seed(0)
    feature, source = torch.randn(1, 32, 16, 64, 64), 1.6 * torch.rand(1, 21, 3) - 0.8
    return feature, source, source + 0.1 * torch.randn(FRAMES, 21, 3)


NO_CACHE = TensorCache, "get", lambda self, sources, compute, options=None: compute()
WARPING_GAINS = {
    "kernels of 7x7x7 by Fourier transforms": [(large_kernels, "use_cpu_kernel", never)],
    "3x3x3 convolutions with a quarter of the products": [(winograd, "use_cpu_kernel", never)],
    "22 warps as one": [(warping_module, "sample_shifted", warp_one_by_one)],
    "7x7 kernel with one output as a product": [(large_kernels.FewOutputsConv2d, "forward", nn.Conv2d.forward)],
    "convolutions of upsampled maps on the small maps": [(upsampling, "conv3x3_upsampled", upsample_then_convolve)],
    "cached spectra of kernels": [NO_CACHE],
}
GENERATOR_GAINS = {
    "3x3 convolutions with a quarter of the products": [(winograd, "use_cpu_kernel", never)],
    "convolutions of upsampled maps on the small maps": [(spade, "conv3x3_upsampled", upsample_then_convolve)],
    "spectral norm folded into weights": [NO_CACHE],
}


@pytest.mark.parametrize("gain", WARPING_GAINS)
@torch.inference_mode()
def test_warping(gain, portrait, monkeypatch):
    network = accelerate(build("warping_module"))
    keep_freed_memory()

    def warp():
        return network(*portrait)["out"]

    compare_times(f"warping: {gain}", with_patches(monkeypatch, warp, *WARPING_GAINS[gain]), warp)


@torch.inference_mode()
def test_warping_one_portrait(portrait):
    network, (feature, source, driving) = accelerate(build("warping_module")), portrait
    keep_freed_memory()

    def warp_repeated():
        return network(feature.repeat(FRAMES, 1, 1, 1, 1), source, driving)["out"]

    compare_times("warping: portrait-dependent parts once", warp_repeated, lambda: network(*portrait)["out"])


@pytest.mark.parametrize("gain", [*GENERATOR_GAINS, "freed memory kept"])
@torch.inference_mode()
def test_generator(gain, monkeypatch):
    torch.manual_seed(0)
    network, feature = accelerate(build("spade_generator")), torch.randn(FRAMES, 256, 64, 64)
    keep_freed_memory()

    def generate():
        return network(feature)

    plain = with_patches(monkeypatch, generate, *GENERATOR_GAINS.get(gain, []))
    if gain == "freed memory kept":
        plain = default_allocation()(plain)
    compare_times(f"generator: {gain}", plain, generate)


@pytest.fixture(scope="module")
def step():
    """Accelerated network and the arguments of a denoising step of many records with guidance."""
    network, *arguments = windows_of_records()
    return accelerate(network), *arguments


@torch.no_grad()
def predictor(network, motion, audio, prev_motion, prev_audio, scale=SCALE):
    return network._predictor(audio, prev_motion, prev_audio, scale, None)


@torch.inference_mode()
def test_records_in_one_batch(step):
    network, motion, *arguments = step
    predict = predictor(*step)
    single = [predictor(network, motion[i : i + 1], *(x[i : i + 1] for x in arguments)) for i in range(RECORDS)]
    compare_times(
        f"denoising step: {RECORDS} records in one batch",
        lambda: torch.cat([predict_one(motion[i : i + 1], STEP) for i, predict_one in enumerate(single)]),
        lambda: predict(motion, STEP),
    )


@torch.inference_mode()
def test_halves_of_guidance_in_one_batch(step):
    network, motion, audio, prev_motion, prev_audio = step
    predict, conditional = predictor(*step), predictor(*step, scale=1.0)
    silence = network.null_audio_feat.expand_as(audio)
    unconditional = predictor(network, motion, silence, prev_motion, prev_audio, scale=1.0)

    def one_by_one():
        prediction = unconditional(motion, STEP)
        return prediction + SCALE * (conditional(motion, STEP) - prediction)

    compare_times("denoising step: both halves of guidance in one batch", one_by_one, lambda: predict(motion, STEP))


@torch.inference_mode()
def test_cross_attention_as_a_linear_map(step):
    network, motion, audio, prev_motion, prev_audio = step
    frames, layers_ = torch.cat([prev_audio, audio], 1), network.denoising_net.transformer.layers
    context = network.denoising_net.audio_context(audio, prev_audio)
    number, mask = torch.tensor([STEP]), network.denoising_net.alignment_mask
    queries = torch.randn_like(frames)  # any values: each token attends to one frame of sound

    def attend():
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

    compare_times(
        "denoising step: cross-attention as a linear map, once per window",
        lambda: network.denoising_net(motion, attend(), prev_motion, number),
        lambda: network.denoising_net(motion, context, prev_motion, number),
    )


@torch.inference_mode()
def test_linear_layers(step, monkeypatch):
    predict, motion = predictor(*step), step[1]

    def denoise():
        return predict(motion, STEP)

    plain = with_patches(monkeypatch, denoise, (linear, "_use_onednn", never))
    compare_times("denoising step: products by oneDNN", plain, denoise)


def cat_in_any_format(*pictures):
    return torch.cat(pictures, 1) if len(pictures) > 1 else pictures[0]


def forward_whole(self, *parts):
    """Compute `ConvNormRelu.forward_parts` on the whole batch."""
    batch, channels = max(len(x) for x, _ in parts), [channel for _, indices in parts for channel in indices]
    x = torch.cat([x.expand(batch, -1, -1, -1) for x, _ in parts], 1)
    return self(x[:, torch.tensor(channels).argsort()])


COMPACT_GAINS = {
    "channels-last memory format": [
        (module, "cat_channels_last", cat_in_any_format) for module in (layers, warping, generator)
    ],
    "portrait-dependent parts once": [(ConvNormRelu, "forward_parts", forward_whole)],
}


@pytest.mark.parametrize("gain", COMPACT_GAINS)
@torch.inference_mode()
def test_compact_networks(gain, monkeypatch):
    torch.manual_seed(0)
    models = Models(load_config(AnimationConfig, settings=["device=cpu"]))
    (portrait,) = models.encoder.encode([models.read_picture("manifests/examples/portrait.jpg")])
    warp, generate = models.network("warping_module"), models.network("spade_generator")
    feature, source = portrait.feature, transform_keypoints(portrait.keypoints)
    driving = source + 0.02 * torch.randn(2 * FRAMES, 21, 3)
    keep_freed_memory()

    def render():
        return generate(warp(feature, source, driving)["out"])

    compare_times(f"bundle `sample`: {gain}", with_patches(monkeypatch, render, *COMPACT_GAINS[gain]), render)
