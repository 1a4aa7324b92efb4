"""Features of I3D equal the reference, for both epsilons of batch norm."""

import numpy as np
import pytest
import torch

from joyvasa.networks import build
from tests.golden.metric_reference import check, fill, meta, pattern_video, published_keys, stored


@pytest.fixture(scope="module")
def network():
    return fill(build("i3d"), "i3d_net")


def video(n_frames):
    frames = pattern_video(20640 + n_frames, n_frames, 224, 224, meta()["i3d_net"][f"T{n_frames}"]["sha"])
    return torch.from_numpy(frames.astype(np.float32) / 255 * 2 - 1).permute(3, 0, 1, 2)[None]


def test_weights_are_named_as_published(network):
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == published_keys("i3d")


def run(network, frames):
    """Return the features and the activations of some layers."""
    activations, hooks = {}, []

    def record(name):
        return lambda module, inputs, output: activations.update({name: output, f"{name} input": inputs[0]})

    for name in ("Conv3d_1a_7x7", "Conv3d_2c_3x3", "Mixed_3b", "Mixed_4f", "Mixed_5c", "logits.conv3d"):
        hooks.append(network.get_submodule(name).register_forward_hook(record(name)))
    with torch.inference_mode():
        result = network(frames)
    for hook in hooks:
        hook.remove()
    return result[0], activations


@pytest.mark.parametrize("n_frames", [9, 10, 16])
def test_features_of_few_frames_equal_the_reference(network, n_frames):
    result, activations = run(network, video(n_frames))
    expected = stored("i3d_net")
    check(activations["logits.conv3d input"][0, ..., 0, 0], expected[f"T{n_frames}_pool_eps1e3"], 1e-4)
    check(activations["logits.conv3d"][0, ..., 0, 0], expected[f"T{n_frames}_logits_t_eps1e3"], 1e-4)
    check(result, expected[f"T{n_frames}_feat_eps1e3"], 1e-4)


def test_features_and_layers_of_25_frames_equal_the_reference(network):
    result, activations = run(network, video(25))
    expected = stored("i3d_net")
    for name, figures in meta()["i3d_net"]["layers_T25_eps1e3"].items():
        if name in activations:
            assert list(activations[name].shape[1:]) == figures["shape"]
            assert activations[name].double().mean().item() == pytest.approx(figures["mean"], rel=1e-4)
            assert activations[name].double().std().item() == pytest.approx(figures["std"], rel=1e-4)
    check(activations["logits.conv3d input"][0, ..., 0, 0], expected["T25_pool_eps1e3"], 1e-4)
    check(activations["logits.conv3d"][0, ..., 0, 0], expected["T25_logits_t_eps1e3"], 1e-4)
    check(result, expected["T25_feat_eps1e3"], 1e-4)


@pytest.mark.parametrize("n_frames", [9, pytest.param(25, marks=pytest.mark.slow)])
def test_the_other_epsilon_gives_the_other_features(n_frames):
    network = fill(build("i3d", batch_norm_epsilon=1e-5), "i3d_net")
    with torch.inference_mode():
        result = network(video(n_frames))[0]
    expected = stored("i3d_net")
    check(result, expected[f"T{n_frames}_feat_eps1e5"], 1e-4)
    with pytest.raises(AssertionError):
        check(result, expected[f"T{n_frames}_feat_eps1e3"], 1e-4)
