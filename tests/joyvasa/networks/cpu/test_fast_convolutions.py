"""Convolutions with fewer multiplications give what the usual ones give."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from joyvasa.networks.cpu.large_kernels import FewOutputsConv2d, FourierConv3d, next_fast_length
from joyvasa.networks.cpu.tensor_cache import TensorCache
from joyvasa.networks.cpu.upsampling import conv3x3_upsampled
from joyvasa.networks.cpu.winograd import conv3x3, conv3x3_winograd


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def assert_equal(found, expected, relative=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= relative * expected.abs().max()


def counted(monkeypatch, name):
    """Inputs of a function of `torch.nn.functional`, which it goes on doing."""
    calls, original = [], getattr(F, name)
    monkeypatch.setattr(F, name, lambda x, *args, **kwargs: calls.append(x.shape) or original(x, *args, **kwargs))
    return calls


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@torch.inference_mode()
def test_convolution_of_an_enlarged_map(factor):
    x, weight, bias = torch.randn(2, 3, 5, 7), torch.randn(4, 3, 3, 3), torch.randn(4)
    expected = F.conv2d(F.interpolate(x, scale_factor=factor), weight, bias, padding=1)
    assert_equal(conv3x3_upsampled(x, weight, bias, factor), expected)
    assert_equal(conv3x3_upsampled(x, weight, bias, factor, relu=True), expected.relu())


@torch.inference_mode()
def test_convolution_of_an_enlarged_volume():
    x, weight = torch.randn(2, 3, 4, 5, 7), torch.randn(4, 3, 3, 3, 3)
    expected = F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2)), weight, None, padding=1)
    assert_equal(conv3x3_upsampled(x, weight, None, 2), expected)


@torch.inference_mode()
def test_the_enlarged_map_is_not_convolved(monkeypatch):
    sizes = counted(monkeypatch, "conv2d")
    conv3x3_upsampled(torch.randn(1, 3, 6, 6), torch.randn(4, 3, 3, 3), None, 4)
    assert sizes == [(1, 3, 6, 6)]


@pytest.mark.parametrize("budget", [1, 32 << 20])  # a strip of one row of squares, and all of them at once
@torch.inference_mode()
def test_winograd(monkeypatch, budget):
    monkeypatch.setattr("joyvasa.networks.cpu.winograd.BUFFER_BYTES", budget)
    x, weight, bias = torch.randn(2, 20, 24, 16), torch.randn(12, 20, 3, 3), torch.randn(12)
    assert_equal(conv3x3_winograd(x, weight, bias), F.conv2d(x, weight, bias, padding=1))
    assert_equal(conv3x3_winograd(x, weight, None), F.conv2d(x, weight, None, padding=1))


@pytest.mark.parametrize(
    ("size", "precision", "usual"),
    [((32, 32), None, False), ((34, 34), None, True), ((16, 16), None, True), ((32, 32), torch.bfloat16, True)],
)
@torch.inference_mode()
def test_winograd_where_it_pays(monkeypatch, size, precision, usual):
    x, weight, bias = torch.randn(1, 128, *size), torch.randn(256, 128, 3, 3), torch.randn(256)
    expected = F.conv2d(x, weight, bias, padding=1)
    calls = counted(monkeypatch, "conv2d")
    with torch.autocast("cpu", precision, enabled=precision is not None):
        found = conv3x3(x, weight, bias)
    assert bool(calls) == usual
    assert_equal(found.float(), expected, relative=1e-2 if precision else 1e-5)


def test_gradients_go_through_the_usual_convolution(monkeypatch):
    calls = counted(monkeypatch, "conv2d")
    weight = torch.randn(256, 128, 3, 3, requires_grad=True)
    conv3x3(torch.randn(1, 128, 32, 32), weight, None).sum().backward()
    assert calls
    assert weight.grad is not None


@pytest.mark.parametrize("size", [(4, 16, 16), (5, 20, 33)])
@torch.inference_mode()
def test_convolution_by_fourier_transforms(monkeypatch, size):
    network, x = FourierConv3d(5, 3, kernel_size=7, padding=3), torch.randn(2, 5, *size)
    expected = F.conv3d(x, network.weight, network.bias, padding=3)
    calls = counted(monkeypatch, "conv3d")
    assert_equal(network(x), expected)
    assert not calls
    network.weight.mul_(2)  # what was transformed before does not count any more
    assert_equal(network(x) - network.bias[:, None, None, None], 2 * (expected - network.bias[:, None, None, None]))


@torch.inference_mode()
def test_small_volumes_are_convolved_as_usual():
    network, x = FourierConv3d(2, 3, kernel_size=7, padding=3), torch.randn(1, 2, 4, 8, 8)
    assert torch.equal(network(x), F.conv3d(x, network.weight, network.bias, padding=3))


@torch.inference_mode()
def test_convolution_with_few_outputs():
    network, x = FewOutputsConv2d(30, 2, kernel_size=7, padding=3), torch.randn(2, 30, 20, 33)
    assert_equal(network(x), F.conv2d(x, network.weight, network.bias, padding=3))


def test_lengths_that_fourier_transforms_like():
    assert [next_fast_length(n) for n in (1, 7, 16, 19, 31, 121)] == [1, 8, 16, 20, 32, 125]


def test_a_remembered_value_follows_its_source():
    source, remembered, computed = torch.ones(2), TensorCache(), []

    def twice():
        computed.append(None)
        return source * 2

    for _ in range(2):
        assert torch.equal(remembered.get((source,), twice), torch.full((2,), 2.0))
    assert len(computed) == 1
    source.fill_(3)
    assert torch.equal(remembered.get((source,), twice), torch.full((2,), 6.0))
    source = torch.ones(2)  # another one
    assert torch.equal(remembered.get((source,), twice), torch.full((2,), 2.0))
    assert len(computed) == 3


def test_a_remembered_value_takes_no_gradients_away():
    source, remembered = torch.ones(2, requires_grad=True), TensorCache()
    with torch.inference_mode():
        remembered.get((source,), lambda: source * 2)
    for _ in range(2):
        remembered.get((source,), lambda: source * 2).sum().backward()
    assert torch.equal(source.grad, torch.full((2,), 4.0))
