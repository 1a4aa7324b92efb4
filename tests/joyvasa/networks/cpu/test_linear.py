"""Linear layers by oneDNN compute the same as PyTorch's layers."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from joyvasa.networks.cpu import linear as module
from joyvasa.networks.cpu.linear import MIN_ROWS, Linear, LinearGelu, linear

needs_onednn = pytest.mark.skipif(not module._ONEDNN, reason="this PyTorch has no oneDNN")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def products(monkeypatch):
    """Record the input shapes of `torch.nn.functional.linear`."""
    calls, original = [], F.linear
    monkeypatch.setattr(F, "linear", lambda x, *args: calls.append(x.shape) or original(x, *args))
    return calls


@needs_onednn
@pytest.mark.parametrize("shape", [(2, 70, 48), (MIN_ROWS, 48), (1, 9, 9, 48)])
@torch.inference_mode()
def test_the_same_product_is_computed_by_onednn(products, shape):
    x, plain = torch.randn(shape), torch.nn.Linear(48, 20)
    expected = plain(x)
    layer, with_gelu = Linear(48, 20), LinearGelu(48, 20)
    layer.load_state_dict(plain.state_dict())
    with_gelu.load_state_dict(plain.state_dict())
    products.clear()
    assert torch.allclose(layer(x), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(with_gelu(x), F.gelu(expected), rtol=1e-5, atol=1e-5)
    assert torch.allclose(linear(x, plain.weight, None), expected - plain.bias, rtol=1e-5, atol=1e-5)
    assert not products


@torch.inference_mode()
def test_views_of_larger_tensors_are_accepted():
    x, layer = torch.randn(3, 100, 48), Linear(48, 20)
    for part in (x[:, 20:], x.transpose(0, 1), x[..., ::2].repeat(1, 1, 2)):
        assert torch.allclose(layer(part), F.linear(part, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)


def test_gradients_are_computed(products):
    x, layer = torch.randn(MIN_ROWS, 48, requires_grad=True), LinearGelu(48, 20)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert products


@torch.inference_mode()
def test_reduced_precision_uses_pytorch(products):
    with torch.autocast("cpu", torch.bfloat16):
        assert LinearGelu(48, 20)(torch.randn(MIN_ROWS, 48)).dtype is torch.bfloat16
    assert products
