"""An accelerated network has the same weights and results."""

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.cpu import accelerate
from joyvasa.networks.cpu.acceleration import FAST_LAYERS, FAST_MODULES
from tests.joyvasa.small_generator import SMALL as SMALL_GENERATOR

SIZES = {
    "motion_extractor": {"keypoints": 10, "depths": [1, 2], "widths": [8, 12]},
    "warping_module": {"channels": 4, "depth": 4, "out_channels": 8, "hourglass_channels": 4, "hourglass_blocks": 2,
                       "compressed_channels": 2},
    "spade_generator": {"channels": 8, "middle_channels": 16, "middle_blocks": 2, "up_channels": (8, 4),
                        "hidden_channels": 8},
    "motion_generator": SMALL_GENERATOR,
}  # fmt: skip


def inputs(name):
    torch.manual_seed(1)
    if name == "motion_extractor":
        return (torch.rand(2, 3, 64, 64),)
    if name == "spade_generator":
        return (torch.randn(2, 8, 8, 8),)
    if name == "warping_module":
        return torch.randn(2, 4, 4, 16, 16), *(torch.rand(2, 21, 3) - 0.5 for _ in range(2))
    sizes = SMALL_GENERATOR
    frames = sizes["n_motions"], sizes["n_prev_motions"]
    motion, prev_motion = (torch.randn(4, n, sizes["motion_feat_dim"]) for n in frames)
    audio, prev_audio = (torch.randn(4, n, sizes["feature_dim"]) for n in frames)
    return motion, audio, prev_motion, prev_audio, torch.tensor([1, 2, 3, 4])


def call(network, name):
    with torch.no_grad():
        result = network.denoise(*inputs(name)) if name == "motion_generator" else network(*inputs(name))
    return result if isinstance(result, dict) else {"result": result}


def build_small(name):
    torch.manual_seed(0)
    return build(name, **SIZES[name])


def module_classes(network):
    return {type(module) for module in network.modules()}


@pytest.mark.parametrize("name", SIZES)
def test_accelerated_networks_compute_the_same(name):
    plain, fast = call(build_small(name), name), call(accelerate(build_small(name)), name)
    assert plain.keys() == fast.keys()
    for key, value in plain.items():
        assert (value - fast[key]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_keys_and_weights_do_not_change(name):
    network = build_small(name)
    before = {key: (value.data_ptr(), value.shape) for key, value in network.state_dict().items()}
    assert accelerate(network) is network
    call(network, name)
    assert {key: (value.data_ptr(), value.shape) for key, value in network.state_dict().items()} == before


@pytest.mark.parametrize("name", SIZES)
def test_accelerating_twice_changes_nothing(name):
    network = accelerate(build_small(name))
    before = [(path, type(module)) for path, module in network.named_modules()]
    assert [(path, type(module)) for path, module in accelerate(network).named_modules()] == before


def test_every_fast_module_is_used_and_no_original_is_left():
    networks = [accelerate(build_small(name)) for name in SIZES]
    used = set().union(*map(module_classes, networks))
    fast = {*FAST_MODULES.values(), *(layer for layers in FAST_LAYERS.values() for layer in layers.values())}
    assert used >= fast
    assert not used & set(FAST_MODULES)


def test_a_built_network_has_no_fast_modules():
    classes = set().union(*(module_classes(build_small(name)) for name in SIZES))
    assert not any("joyvasa.networks.cpu" in module_class.__module__ for module_class in classes)


def test_a_network_without_replaceable_modules_does_not_change():
    network = build("lip", keypoints=10, hidden=[16])
    before = module_classes(network)
    assert module_classes(accelerate(network)) == before
