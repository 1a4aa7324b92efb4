"""Compiled networks compute the same."""

import sys

import pytest
import torch
from torch import nn

from joyvasa.config import load_config
from joyvasa.errors import EnvironmentFault
from joyvasa.models import Models
from joyvasa.networks.motion_generator import MotionGenerator, MotionGeneratorConfig
from joyvasa.options import AnimationConfig
from joyvasa.runtime import device as device_module
from tests.joyvasa.small_generator import SMALL

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(bool(device_module.find_missing_compiler(CPU)), reason="no C++ compiler here")


def models(*settings: str) -> Models:
    return Models(load_config(AnimationConfig, settings=["device=cpu", *settings]))


@pytest.fixture
def compiled(monkeypatch):
    """Record the compiled classes and their options."""
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: calls.append((type(self).__name__, options)))
    return calls


@needs_compiler
def test_networks_of_every_step_and_frame_are_compiled(compiled):
    some = models("torch_compile=true")
    for role in ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator"):
        some.network(role)
    _ = some.motion_model
    assert compiled == [
        ("CompactWarping", {}),
        ("CompactGenerator", {}),
        ("DenoisingNetwork", {"mode": "reduce-overhead"}),
    ]
    assert some.network("warping_module") is some.network("warping_module")


def test_nothing_is_compiled_by_default(compiled):
    some = models()
    _ = some.renderer, some.motion_model
    assert not compiled


@pytest.mark.slow
@needs_compiler
def test_models_do_not_share_networks_with_compiled_ones():
    plain = models()
    _ = plain.motion_model
    assert plain.with_config(plain.config).motion_model is plain.motion_model
    assert plain.with_config(models("torch_compile=true").config).motion_model is not plain.motion_model


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(device_module.shutil, "which", lambda name: None)
    assert device_module.find_missing_compiler(CPU) == "a C++ compiler, g++ or clang++"
    with pytest.raises(EnvironmentFault, match=r"compiler_missing: torch_compile is true: a C\+\+ compiler, g\+\+"):
        models("torch_compile=true")


def test_on_a_gpu_triton_and_a_c_compiler_are_needed(monkeypatch):
    found, gpu = {"gcc"}, torch.device("cuda")
    monkeypatch.setattr(device_module.shutil, "which", lambda name: name if name in found else None)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)  # cannot be imported
    assert device_module.find_missing_compiler(gpu) == "the package triton"
    monkeypatch.setitem(sys.modules, "triton", object())
    assert device_module.find_missing_compiler(gpu) is None
    found.clear()
    assert device_module.find_missing_compiler(gpu) == "a C compiler, gcc or clang"
    monkeypatch.setenv("CC", "/opt/bin/cc")
    assert device_module.find_missing_compiler(gpu) is None


@pytest.mark.slow
@needs_compiler
def test_compiled_steps_give_the_same_motion():
    torch.manual_seed(0)
    network = MotionGenerator(MotionGeneratorConfig(**SMALL)).eval()
    audio = torch.randn(2, SMALL["n_motions"], SMALL["feature_dim"])
    noise = torch.randn(SMALL["n_diff_steps"], *audio.shape[:2], SMALL["motion_feat_dim"])
    plain = network.sample(audio, noise=noise, cfg_scale=2.8)
    network.compile()
    assert torch.allclose(network.sample(audio, noise=noise, cfg_scale=2.8), plain, rtol=0, atol=1e-5)


@needs_compiler
@pytest.mark.slow
def test_compiled_frames_are_the_same():
    torch.manual_seed(0)
    feature, keypoints = torch.rand(1, 80, 64, 64).expand(2, -1, -1, -1), torch.rand(2, 21, 3) - 0.5
    bundle = models().bundle
    warping, generator = (bundle.load_network(role, CPU) for role in ("warping_module", "spade_generator"))

    def render() -> torch.Tensor:
        with torch.inference_mode():
            return generator(warping(feature, kp_source=keypoints[:1].expand(2, -1, -1), kp_driving=keypoints)["out"])

    plain = render()
    warping.compile()
    generator.compile()
    assert (plain - render()).abs().max() <= 1 / 255
