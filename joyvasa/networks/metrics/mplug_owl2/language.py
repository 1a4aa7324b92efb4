"""LLaMA with separate norms, keys and values for image tokens ("multiway")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.metrics.mplug_owl2.config import LanguageConfig

ROTARY_BASE = 10000.0


class TokenIndices(NamedTuple):
    """Positions of text and image tokens in the sequence, the same for the whole batch."""

    text: Tensor  # indices of tokens of the text, shape (n,)
    image: Tensor  # indices of tokens of images, shape (n,)


class RmsNorm(nn.Module):
    """Normalization by the root mean square, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return shape and dtype of the input."""
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * y.to(x.dtype)


class LlamaLayer(nn.Module):
    """Causal attention and a gated perceptron, each after a norm."""

    def __init__(self, config: LanguageConfig, epsilon: float) -> None:
        super().__init__()
        width = config.hidden_size
        self.self_attn = _Attention(config)
        self.mlp = _Perceptron(config)
        self.input_layernorm = _Multiway(lambda: RmsNorm(width, epsilon))
        self.post_attention_layernorm = _Multiway(lambda: RmsNorm(width, epsilon))

    def forward(self, x: Tensor, indices: TokenIndices, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Return the shape of the input, (batch, tokens, 4096)."""
        x = x + self.self_attn(self.input_layernorm(x, indices), indices, rotation)
        return x + self.mlp(self.post_attention_layernorm(x, indices))


def rotary_tables(n_tokens: int, head: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary position embedding (Su et al. 2021), shape (tokens, head)."""
    rates = ROTARY_BASE ** (-torch.arange(0, head, 2, dtype=torch.float32, device=like.device) / head)
    angles = torch.arange(n_tokens, dtype=torch.float32, device=like.device)[:, None] * rates
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class _Multiway(nn.Module):
    """Two modules: one for text tokens, one for image tokens."""

    def __init__(self, create: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([create(), create()])

    def forward(self, x: Tensor, indices: TokenIndices) -> Tensor:
        result = torch.empty_like(x)
        for module, positions in zip(self.multiway, indices, strict=True):
            result[:, positions] = module(x[:, positions])
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

    def forward(self, x: Tensor, indices: TokenIndices, rotation: tuple[Tensor, Tensor]) -> Tensor:
        projections = self.q_proj(x), self.k_proj(x, indices), self.v_proj(x, indices)
        query, key, value = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in projections)
        query, key = _rotate(query, rotation), _rotate(key, rotation)
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


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of numbers that are half a head apart."""
    cosines, sines = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines
