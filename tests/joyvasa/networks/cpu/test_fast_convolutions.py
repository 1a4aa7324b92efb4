"""Convolutions with fewer multiplications compute the same as the usual ones."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from joyvasa.networks.cpu.large_kernels import FewOutputsConv2d, FourierConv3d, next_fast_length
from joyvasa.networks.cpu.tensor_cache import TensorCache
from joyvasa.networks.cpu.upsampling import conv3x3_upsampled
from joyvasa.networks.cpu.winograd import conv3x3, conv3x3_each, conv3x3_winograd


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def assert_equal(actual, expected, relative=1e-5):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


def record_calls(monkeypatch, name):
    """Record the input shapes of a function of `torch.nn.functional`."""
    calls, original = [], getattr(F, name)
    monkeypatch.setattr(F, name, lambda x, *args, **kwargs: calls.append(x.shape) or original(x, *args, **kwargs))
    return calls


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@torch.inference_mode()
def test_convolution_of_an_upsampled_map(factor):
    x, weight, bias = torch.randn(2, 3, 5, 7), torch.randn(4, 3, 3, 3), torch.randn(4)
    expected = F.conv2d(F.interpolate(x, scale_factor=factor), weight, bias, padding=1)
    assert_equal(conv3x3_upsampled(x, weight, bias, factor), expected)
    assert_equal(conv3x3_upsampled(x, weight, bias, factor, relu=True), expected.relu())


@torch.inference_mode()
def test_convolution_of_an_upsampled_volume():
    x, weight = torch.randn(2, 3, 4, 5, 7), torch.randn(4, 3, 3, 3, 3)
    expected = F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2)), weight, None, padding=1)
    assert_equal(conv3x3_upsampled(x, weight, None, 2), expected)


@torch.inference_mode()
def test_the_upsampled_map_is_not_convolved(monkeypatch):
    sizes = record_calls(monkeypatch, "conv2d")
    conv3x3_upsampled(torch.randn(1, 3, 6, 6), torch.randn(4, 3, 3, 3), None, 4)
    assert sizes == [(1, 3, 6, 6)]


@pytest.mark.parametrize("budget", [1, 32 << 20])  # a strip of one row of squares, and all of them at once
@pytest.mark.parametrize("size", [(24, 16), (5, 24, 16)])
@torch.inference_mode()
def test_winograd(monkeypatch, budget, size):
    monkeypatch.setattr("joyvasa.networks.cpu.winograd.BUFFER_BYTES", budget)
    convolution, kernel = (F.conv2d, (3, 3)) if len(size) == 2 else (F.conv3d, (3, 3, 3))
    x = torch.randn(2, 20, *size)
    layers = [(torch.randn(12, 20, *kernel), torch.randn(12)), (torch.randn(7, 20, *kernel), None)]
    for actual, layer in zip(conv3x3_winograd(x, *layers), layers, strict=True):
        assert_equal(actual, convolution(x, *layer, padding=1))


@torch.inference_mode()
def test_volumes_use_winograd(monkeypatch):
    calls = record_calls(monkeypatch, "conv3d")
    x, weight, bias = torch.randn(1, 64, 2, 32, 32), torch.randn(64, 64, 3, 3, 3), torch.randn(64)
    actual = conv3x3(x, weight, bias)
    assert not calls
    assert_equal(actual, F.conv3d(x, weight, bias, padding=1))


@torch.inference_mode()
def test_convolutions_of_one_input_that_share_its_transform(monkeypatch):
    calls = record_calls(monkeypatch, "conv2d")
    x, layers = torch.randn(1, 128, 32, 32), [(torch.randn(64, 128, 3, 3), torch.randn(64)) for _ in range(2)]
    together = conv3x3_each(x, *layers)
    assert not calls
    for actual, layer in zip(together, layers, strict=True):
        assert_equal(actual, conv3x3(x, *layer))
    assert len(calls) == 2  # alone, each is too small


@pytest.mark.parametrize(
    ("size", "precision", "usual"),
    [((32, 32), None, False), ((34, 34), None, True), ((16, 16), None, True), ((32, 32), torch.bfloat16, True)],
)
@torch.inference_mode()
def test_winograd_is_used_where_it_is_faster(monkeypatch, size, precision, usual):
    x, weight, bias = torch.randn(1, 128, *size), torch.randn(256, 128, 3, 3), torch.randn(256)
    expected = F.conv2d(x, weight, bias, padding=1)
    calls = record_calls(monkeypatch, "conv2d")
    with torch.autocast("cpu", precision, enabled=precision is not None):
        actual = conv3x3(x, weight, bias)
    assert bool(calls) == usual
    assert_equal(actual.float(), expected, relative=1e-2 if precision else 1e-5)


def test_gradients_use_the_usual_convolution(monkeypatch):
    calls = record_calls(monkeypatch, "conv2d")
    weight = torch.randn(256, 128, 3, 3, requires_grad=True)
    conv3x3(torch.randn(1, 128, 32, 32), weight, None).sum().backward()
    assert calls
    assert weight.grad is not None


@pytest.mark.parametrize("size", [(4, 16, 16), (5, 20, 33)])
@torch.inference_mode()
def test_convolution_by_fourier_transforms(monkeypatch, size):
    network, x = FourierConv3d(5, 3, kernel_size=7, padding=3), torch.randn(2, 5, *size)
    expected = F.conv3d(x, network.weight, network.bias, padding=3)
    calls = record_calls(monkeypatch, "conv3d")
    assert_equal(network(x), expected)
    assert not calls
    network.weight.mul_(2)  # invalidates the cached spectrum
    assert_equal(network(x) - network.bias[:, None, None, None], 2 * (expected - network.bias[:, None, None, None]))


@torch.inference_mode()
def test_small_volumes_use_the_usual_convolution():
    network, x = FourierConv3d(2, 3, kernel_size=7, padding=3), torch.randn(1, 2, 4, 8, 8)
    assert torch.equal(network(x), F.conv3d(x, network.weight, network.bias, padding=3))


@torch.inference_mode()
def test_convolution_with_few_outputs():
    network, x = FewOutputsConv2d(30, 2, kernel_size=7, padding=3), torch.randn(2, 30, 20, 33)
    assert_equal(network(x), F.conv2d(x, network.weight, network.bias, padding=3))


def test_fast_lengths_have_small_prime_factors():
    assert [next_fast_length(n) for n in (1, 7, 16, 19, 31, 121)] == [1, 8, 16, 20, 32, 125]


def test_a_cached_tensor_follows_its_source():
    source, cache, calls = torch.ones(2), TensorCache(), []

    def twice():
        calls.append(None)
        return source * 2

    for _ in range(2):
        assert torch.equal(cache.get((source,), twice), torch.full((2,), 2.0))
    assert len(calls) == 1
    source.fill_(3)
    assert torch.equal(cache.get((source,), twice), torch.full((2,), 6.0))
    source = torch.ones(2)  # another tensor
    assert torch.equal(cache.get((source,), twice), torch.full((2,), 2.0))
    assert len(calls) == 3


def test_a_cached_tensor_does_not_block_gradients():
    source, cache = torch.ones(2, requires_grad=True), TensorCache()
    with torch.inference_mode():
        cache.get((source,), lambda: source * 2)
    for _ in range(2):
        cache.get((source,), lambda: source * 2).sum().backward()
    assert torch.equal(source.grad, torch.full((2,), 4.0))
