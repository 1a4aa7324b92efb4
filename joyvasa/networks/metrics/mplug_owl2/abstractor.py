"""Visual abstractor: condenses patch features into a few tokens of the language model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.metrics.mplug_owl2.config import AbstractorConfig

NORM_EPSILON = 1e-5
MLP_NORM_EPSILON = 1e-6


class VisualAbstractor(nn.Module):
    """Learned queries that attend to themselves and to the patches."""

    def __init__(self, config: AbstractorConfig, patches_per_side: int, outputs: int) -> None:
        super().__init__()
        self.query_embeds = nn.Parameter(torch.randn(1, config.num_learnable_queries, config.hidden_size))
        self.vit_eos = nn.Parameter(torch.randn(1, 1, outputs))
        layers = (_CrossAttention(config, patches_per_side) for _ in range(config.num_hidden_layers))
        # The nesting gives the published names.
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict({"crossattention": x}) for x in layers)})
        self.visual_fc = nn.Linear(config.hidden_size, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Condense the output of the vision transformer, (batch, 1025, 1024), to tokens, (batch, 65, 4096).

        The tokens are the queries, then an end-of-image token.
        """
        x = self.query_embeds.expand(len(features), -1, -1)
        for layer in self.encoder["layers"]:  # type: ignore[union-attr]
            x = layer["crossattention"](x, features)
        return torch.cat([self.visual_fc(x), self.vit_eos.expand(len(features), -1, -1)], dim=1)


class _CrossAttention(nn.Module):
    """Attention and a perceptron; the shortcut is the normalized query, as in the training of the weights."""

    def __init__(self, config: AbstractorConfig, patches_per_side: int) -> None:
        super().__init__()
        self.attention = _Attention(config, patches_per_side)
        self.output = _Output(config)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=NORM_EPSILON)
        self.normk = nn.LayerNorm(config.hidden_size, eps=NORM_EPSILON)

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        query = self.norm1(query)
        return self.output(self.attention(query, self.normk(features)), query)


class _Attention(nn.Module):
    """Attention with positions added to queries and keys, not to values."""

    q_pos_embed: Tensor
    k_pos_embed: Tensor

    def __init__(self, config: AbstractorConfig, patches_per_side: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.register_buffer("q_pos_embed", query_positions(config.num_learnable_queries, width))
        self.register_buffer("k_pos_embed", patch_positions(patches_per_side, width))

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        tokens = torch.cat([query, features], dim=1)
        positions = torch.cat([self.q_pos_embed, self.k_pos_embed])
        projections = self.query(query + self.q_pos_embed), self.key(tokens + positions), self.value(tokens)
        q, k, v = (projection.unflatten(2, (self.heads, -1)).transpose(1, 2) for projection in projections)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Output(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=NORM_EPSILON)
        self.mlp = _GatedPerceptron(config)

    def forward(self, attended: Tensor, query: Tensor) -> Tensor:
        x = query + self.out_proj(attended)
        return x + self.mlp(self.norm2(x))


class _GatedPerceptron(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_ln = nn.LayerNorm(config.intermediate_size, eps=MLP_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(self.ffn_ln(F.silu(self.w1(x)) * self.w3(x)))


def query_positions(count: int, width: int) -> Tensor:
    """Return sines, then cosines, of the index, shape (count, width)."""
    return _waves(torch.arange(count, dtype=torch.float64), width).float()


def patch_positions(side: int, width: int) -> Tensor:
    """Return zeros for the class token, then the code of column and row per patch, shape (side² + 1, width)."""
    steps = torch.arange(side, dtype=torch.float64)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    table = torch.cat([_waves(columns.flatten(), width // 2), _waves(rows.flatten(), width // 2)], dim=1)
    return torch.cat([torch.zeros_like(table[:1]), table]).float()


def _waves(positions: Tensor, width: int) -> Tensor:
    """Return the position encoding of "Attention Is All You Need", all sines before all cosines."""
    rates = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
