"""LLaMA, in which tokens of pictures have norms, keys and values of their own ("multiway")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.metrics.mplug_owl2.config import LanguageConfig

ROTARY_BASE = 10000.0


class TokenIndices(NamedTuple):
    """Which tokens are which; the same for the whole batch.

    Args:
        text, image: their indexes in the sequence.
    """

    text: Tensor
    image: Tensor


class RmsNorm(nn.Module):
    """Root mean square to 1, in float32 whatever the type of the input."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Keeps shape and type."""
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * y.to(x.dtype)


class LlamaLayer(nn.Module):
    """Causal attention and a gated perceptron, each after its norm."""

    def __init__(self, config: LanguageConfig, epsilon: float) -> None:
        super().__init__()
        width = config.hidden_size
        self.self_attn = _Attention(config)
        self.mlp = _Perceptron(config)
        self.input_layernorm = _Multiway(lambda: RmsNorm(width, epsilon))
        self.post_attention_layernorm = _Multiway(lambda: RmsNorm(width, epsilon))

    def forward(self, x: Tensor, ways: TokenIndices, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Keeps the shape (batch, tokens, 4096)."""
        x = x + self.self_attn(self.input_layernorm(x, ways), ways, rotation)
        return x + self.mlp(self.post_attention_layernorm(x, ways))


def rotary_tables(n_tokens: int, head: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary position embedding (Su et al. 2021), shape (tokens, head)."""
    rates = ROTARY_BASE ** (-torch.arange(0, head, 2, dtype=torch.float32, device=like.device) / head)
    angles = torch.arange(n_tokens, dtype=torch.float32, device=like.device)[:, None] * rates
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class _Multiway(nn.Module):
    """One module for the tokens of text and one for those of pictures."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([make(), make()])

    def forward(self, x: Tensor, ways: TokenIndices) -> Tensor:
        result = torch.empty_like(x)
        for module, index in zip(self.multiway, ways, strict=True):
            result[:, index] = module(x[:, index])
        return result


class _Attention(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = _Multiway(lambda: nn.Linear(width, width, bias=False))
        self.v_proj = _Multiway(lambda: nn.Linear(width, width, bias=False))
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, ways: TokenIndices, rotation: tuple[Tensor, Tensor]) -> Tensor:
        parts = self.q_proj(x), self.k_proj(x, ways), self.v_proj(x, ways)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        query, key = _rotated(query, rotation), _rotated(key, rotation)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(attended.transpose(1, 2).flatten(2))


class _Perceptron(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turns pairs of numbers that lie half a head apart."""
    cosines, sines = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines
