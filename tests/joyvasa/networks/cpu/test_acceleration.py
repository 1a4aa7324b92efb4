"""An accelerated network has the same weights and computes the same."""

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.cpu import accelerate
from joyvasa.networks.cpu.acceleration import FORMS, LAYER_FORMS
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
    motion, before = (torch.randn(4, n, sizes["motion_feat_dim"]) for n in frames)
    audio, heard = (torch.randn(4, n, sizes["feature_dim"]) for n in frames)
    return motion, audio, before, heard, torch.tensor([1, 2, 3, 4])


def call(network, name):
    with torch.no_grad():
        result = network.denoise(*inputs(name)) if name == "motion_generator" else network(*inputs(name))
    return result if isinstance(result, dict) else {"result": result}


def built(name):
    torch.manual_seed(0)
    return build(name, **SIZES[name])


def kinds(network):
    return {type(module) for module in network.modules()}


@pytest.mark.parametrize("name", SIZES)
def test_both_forms_compute_the_same(name):
    plain, fast = call(built(name), name), call(accelerate(built(name)), name)
    assert plain.keys() == fast.keys()
    for key, value in plain.items():
        assert (value - fast[key]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_keys_and_weights_stay(name):
    network = built(name)
    before = {key: (value.data_ptr(), value.shape) for key, value in network.state_dict().items()}
    assert accelerate(network) is network
    call(network, name)
    assert {key: (value.data_ptr(), value.shape) for key, value in network.state_dict().items()} == before


@pytest.mark.parametrize("name", SIZES)
def test_a_second_time_changes_nothing(name):
    network = accelerate(built(name))
    before = [(path, type(module)) for path, module in network.named_modules()]
    assert [(path, type(module)) for path, module in accelerate(network).named_modules()] == before


def test_every_form_is_used_and_no_plain_part_of_it_is_left():
    networks = [accelerate(built(name)) for name in SIZES]
    found = set().union(*map(kinds, networks))
    assert found >= {*FORMS.values(), *(form for forms in LAYER_FORMS.values() for form in forms.values())}
    assert not found & set(FORMS)


def test_a_network_as_it_is_built_has_no_faster_form():
    assert not any("joyvasa.networks.cpu" in kind.__module__ for name in SIZES for kind in kinds(built(name)))


def test_a_network_without_faster_parts_is_left_as_it_is():
    network = build("lip", keypoints=10, hidden=[16])
    before = kinds(network)
    assert kinds(accelerate(network)) == before
