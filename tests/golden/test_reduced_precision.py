"""Errors of `precision=bf16` relative to the reference."""

import numpy as np
import pytest
import torch

from joyvasa.networks import build
from joyvasa.runtime.device import autocast
from tests.golden.reference import Section, fill

# Only the form used for inference: in reduced precision both compute the same, and some processors need minutes.
pytestmark = pytest.mark.parametrize("form", ["accelerated"])
CPU = torch.device("cpu")
has_bfloat16_convolutions = pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(),
    reason="without AVX-512 a convolution in bfloat16 takes a thousand times as long as in float32",
)


def errors(section, name, actual):
    """Return the largest and the mean difference from the stored array, relative to its largest value."""
    values, peak = actual.float().numpy().ravel(), None
    if name in section.stored:
        stored = section.stored[name].astype(np.float64)
    else:
        stored, peak = section.stored[f"{name}__sub"].astype(np.float64), section.stored[f"{name}__stat"][2]
        values = values[:: int(section.stored[f"{name}__meta"][0])]
    difference = np.abs(values - stored.ravel())
    peak = peak or np.abs(stored).max()
    return difference.max() / peak, difference.mean() / peak


@torch.inference_mode()
def test_one_denoising_call(form):
    section = Section("dit")
    network = fill(build("motion_generator"), "motion_generator", form)
    inputs = [section.input(key) for key in ("motion_feat", "audio_feat", "prev_motion", "prev_audio")]
    with autocast(CPU, "bf16"):
        result = network.denoise(*inputs, torch.from_numpy(section.input("step")))
    largest, mean = errors(section, "denoise", result)
    assert 1e-5 < largest < 0.025
    assert mean < 0.004


@pytest.mark.slow
@torch.no_grad()
def test_motion_in_all_fifty_steps(form):
    section = Section("dit")
    network = fill(build("motion_generator"), "motion_generator", form)
    features = network.encode(torch.from_numpy(section.input("audio_2win"))[None, :64_000])
    with autocast(CPU, "bf16"):
        motion = network.sample(features, noise=section.tape("noise_full50"), cfg_scale=2.0)
    largest, mean = errors(section, "full50_motion", motion)
    assert 1e-5 < largest < 0.05
    assert mean < 0.008


@pytest.mark.slow
@has_bfloat16_convolutions
@torch.inference_mode()
def test_the_warped_feature(form):
    section = Section("W")
    source = section.input("kp_source")
    network = fill(build("warping_module"), "warping_module", form)
    with autocast(CPU, "bf16"):
        result = network(section.input("feature_3d"), kp_source=source, kp_driving=source + section.input("kp_delta"))
    for name, bound, usual in (("deformation", 0.015, 0.001), ("occlusion_map", 0.04, 0.005), ("out", 0.11, 0.015)):
        largest, mean = errors(section, name, result[name])
        assert 1e-6 < largest < bound, name
        assert mean < usual, name


@pytest.mark.slow
@has_bfloat16_convolutions
@torch.inference_mode()
def test_the_image(form):
    section = Section("G")
    network = fill(build("spade_generator"), "spade_generator", form)
    with autocast(CPU, "bf16"):
        image = network(section.input("feature"))
    largest, mean = errors(section, "image", image)
    assert 1e-6 < largest < 0.03
    assert mean < 0.005
