"""Image, flows and features of AMT-S equal the reference."""

import numpy as np
import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.metrics import correlation
from tests.golden.metric_reference import check, fill, meta, pattern_video, published_keys, stored


@pytest.fixture(scope="module")
def network():
    return fill(build("amt"), "amt_net")


def pair(seed, height, width, sha):
    video = torch.from_numpy(pattern_video(seed, 2, height, width, sha).astype(np.float32) / 255)
    return video.permute(0, 3, 1, 2)[:, None]


def test_weights_are_named_as_published(network):
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == published_keys("amt_s")


def test_image_flows_and_features_equal_the_reference(network):
    expected = stored("amt_net")
    activations, hooks = {}, []
    for name in ("feat_encoder", "encoder", "update4"):
        hooks.append(
            network.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: activations.__setitem__(name, output)
            )
        )
    with torch.inference_mode():
        result = network(*pair(20841, 128, 176, meta()["amt_net"]["sha"]))
    for hook in hooks:
        hook.remove()
    check(activations["feat_encoder"][0, ::6], expected["feat_encoder0"], 1e-3)
    check(activations["feat_encoder"][1, ::6], expected["feat_encoder1"], 1e-3)
    check(activations["encoder"][3][0, ::4], expected["encoder0_lvl4"], 1e-3)
    check(activations["update4"][1][0, ::4], expected["ft3"], 1e-3)
    for level, (flow0, flow1) in zip((4, 3, 2, 1), result.flows, strict=True):
        step = {1: 4, 2: 2}.get(level, 1)
        check(flow0[0, ..., ::step, ::step], expected[f"flow0_pred_lvl{level}"], 1e-3)
        check(flow1[0, ..., ::step, ::step], expected[f"flow1_pred_lvl{level}"], 1e-3)
    check(result.image[0, :, ::3, ::3], expected["imgt_pred"], 1e-3)


def test_flows_estimated_at_half_the_size_equal_the_reference(network):
    with torch.inference_mode():
        result = network(*pair(20843, 256, 288, meta()["amt_net"]["sha_scale05"]), scale_factor=0.5)
    check(result.image[0, :, ::5, ::5], stored("amt_net")["imgt_pred_scale05"], 1e-3)


def test_correlations_are_the_same_in_chunks(network, monkeypatch):
    first, second = pair(20841, 128, 176, meta()["amt_net"]["sha"])
    with torch.inference_mode():
        whole = network(first, second).image
        monkeypatch.setattr(correlation, "CHUNK_BYTES", 4 * 16 * 22 * 100)
        chunks = network(first, second).image
    assert torch.allclose(whole, chunks, atol=1e-6)
