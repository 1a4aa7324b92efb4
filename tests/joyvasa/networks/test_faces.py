"""The networks of faces compute what LiteRT computes from the published files."""

import numpy as np
import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.networks.faces.blazeface import FullRange, ShortRange
from joyvasa.networks.faces.blocks import BlazeBlock, SameConv2d
from tests.media import DATA


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "face_networks.npz") as arrays:
        return dict(arrays)


def run(name, reference, *, side, lowest):
    picture = reference["picture"]
    repeats = side // len(picture)
    pixels = torch.from_numpy(picture.repeat(repeats, 0).repeat(repeats, 1)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        first, second = open_bundle("faces").load_network(name)(pixels / 255 * (1 - lowest) + lowest)
    return first[0].numpy(), second.numpy().ravel()


@pytest.mark.parametrize(("name", "side"), [("blazeface_short_range", 128), ("blazeface_full_range", 192)])
def test_detectors_equal_the_published_ones(reference, name, side):
    """The published files have half precision, too, so only the order of additions differs."""
    values, logits = run(name, reference, side=side, lowest=-1.0)
    expected = reference[f"{name}.logits"]
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    best = np.argsort(-expected, kind="stable")[:16]
    np.testing.assert_allclose(values[best], reference[f"{name}.values"], atol=1e-3)  # pixels


def test_the_mesh_in_half_precision_differs_by_less_than_a_tenth_of_a_pixel(reference):
    points, logit = run("face_mesh", reference, side=192, lowest=0.0)
    np.testing.assert_allclose(points, reference["face_mesh.values"], atol=0.1)  # pixels
    np.testing.assert_allclose(logit, reference["face_mesh.logits"], atol=0.1)


@pytest.mark.parametrize("network", [ShortRange, FullRange])
@pytest.mark.parametrize("size", [(64, 96), (128, 32)])
def test_detectors_accept_every_multiple_of_32_pixels(network, size):
    height, width = size
    with torch.inference_mode():
        values, logits = network()(torch.zeros(2, 3, height, width))
    anchors = sum(height // stride * (width // stride) * count for stride, count in network.anchors)
    assert values.shape == (2, anchors, 16)
    assert logits.shape == (2, anchors)


def test_odd_padding_is_larger_at_the_right_and_bottom():
    layer = SameConv2d(1, 1, 3, stride=2)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    picture = torch.zeros(1, 1, 4, 4)
    picture[..., 2, 2] = 1
    assert layer(picture).tolist() == [[[[1, 1], [1, 1]]]]
    picture = torch.zeros(1, 1, 4, 4)
    picture[..., 0, 0] = 1
    assert layer(picture).tolist() == [[[[1, 0], [0, 0]]]]


def test_new_channels_of_the_shortcut_are_zero():
    block = BlazeBlock(2, 3, stride=2)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    expected = torch.cat([torch.nn.functional.max_pool2d(x, 2), torch.zeros(1, 1, 2, 2)], dim=1)
    assert torch.equal(block(x), expected)
