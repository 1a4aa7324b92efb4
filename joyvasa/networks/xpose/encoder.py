"""Encoder of X-Pose: alternating layers over feature maps and text."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.deformable import DeformableAttention
from joyvasa.networks.xpose.layers import apply_in_slices
from joyvasa.networks.xpose.positions import Shapes

LOGIT_RANGE = 50_000.0  # logits are clamped to this range below the largest


class BiAttention(nn.Module):
    """Attention between cells and text tokens that uses the same logits in both directions.

    There are thousands of cells and few tokens, so the linear projections of the cells are applied to the tokens' side
    of each product instead. `inner_dim` is the total width of all heads.
    """

    def __init__(self, dim: int, *, inner_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.v_proj = nn.Linear(dim, inner_dim)
        self.l_proj = nn.Linear(dim, inner_dim)
        self.values_v_proj = nn.Linear(dim, inner_dim)
        self.values_l_proj = nn.Linear(dim, inner_dim)
        self.out_v_proj = nn.Linear(inner_dim, dim)
        self.out_l_proj = nn.Linear(inner_dim, dim)

    def forward(self, cells: Tensor, tokens: Tensor, used: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Attend in both directions.

        Args:
            cells: cells of the image, shape (B, N, dim).
            tokens: tokens of the text, shape (B, n, dim).
            used: False for padding of the tokens, shape (n,), bool; None without padding.

        Returns:
            Weights, shape (B, N, heads * n), and values, shape (B, heads * n, dim), whose product is the update of the
            cells; and the update of the tokens, shape (B, n, dim).
        """
        keys = self.l_proj(tokens).unflatten(-1, (self.heads, -1))  # (B, n, heads, d)
        keys = keys / math.sqrt(keys.shape[-1])
        directions = torch.einsum("bnhd,hdc->bhnc", keys, self._by_head(self.v_proj.weight))
        levels = torch.einsum("bnhd,hd->bhn", keys, self._by_head(self.v_proj.bias))
        logits = directions.flatten(1, 2) @ cells.transpose(1, 2) + levels.flatten(1, 2)[..., None]
        logits = (logits - logits.max()).clamp(min=-LOGIT_RANGE)  # (B, heads * n, N)

        values = self.values_l_proj(tokens).unflatten(-1, (self.heads, -1))
        values = torch.einsum("bnhd,chd->bhnc", values, self.out_v_proj.weight.unflatten(-1, (self.heads, -1)))
        values = (values + self.out_v_proj.bias / self.heads).flatten(1, 2)  # the weights of a head add up to 1
        weights = logits.unflatten(1, (self.heads, -1))  # (B, heads, n, N)
        if used is not None:
            weights = weights.masked_fill(~used[:, None], -math.inf)
        weights = weights.softmax(dim=2).flatten(1, 2).transpose(1, 2)  # (B, N, heads * n)

        pooled = (logits - logits.amax(-1, keepdim=True)).clamp(min=-LOGIT_RANGE).softmax(-1) @ cells
        attended = torch.einsum(
            "bhnc,hdc->bnhd", pooled.unflatten(1, (self.heads, -1)), self._by_head(self.values_v_proj.weight)
        )
        token_update = self.out_l_proj((attended + self._by_head(self.values_v_proj.bias)).flatten(2))
        return weights, values, token_update

    def _by_head(self, parameter: Tensor) -> Tensor:
        return parameter.unflatten(0, (self.heads, -1))


class FusionLayer(nn.Module):
    """`BiAttention` of the normalized input, added to the normalized input."""

    def __init__(self, dim: int, *, inner_dim: int, heads: int) -> None:
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(dim)
        self.layer_norm_l = nn.LayerNorm(dim)
        self.attn = BiAttention(dim, inner_dim=inner_dim, heads=heads)
        self.gamma_v = nn.Parameter(torch.full((dim,), 1e-4))
        self.gamma_l = nn.Parameter(torch.full((dim,), 1e-4))

    def forward(self, cells: Tensor, tokens: Tensor, used: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the shapes of cells and tokens; arguments as in `BiAttention.forward`."""
        cells, tokens = self.layer_norm_v(cells), self.layer_norm_l(tokens)
        weights, values, token_update = self.attn(cells, tokens, used)
        return torch.baddbmm(cells, weights, self.gamma_v * values), tokens + self.gamma_l * token_update


class TextLayer(nn.Module):
    """Transformer layer in which a token attends only to itself.

    A softmax over one token is 1, so queries, keys and position encodings have no effect and the attention is a linear
    map. Their parameters exist only to match the published files.
    """

    def __init__(self, dim: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the shape of the input, (batch, tokens, dim)."""
        dim = tokens.shape[-1]
        value = F.linear(tokens, self.self_attn.in_proj_weight[2 * dim :], self.self_attn.in_proj_bias[2 * dim :])
        tokens = self.norm1(tokens + self.self_attn.out_proj(value))
        return self.norm2(tokens + self.linear2(self.linear1(tokens).relu()))


class EncoderLayer(nn.Module):
    """Deformable self-attention of all cells, then a feed-forward network."""

    def __init__(self, config: XposeConfig) -> None:
        super().__init__()
        dim = config.dim
        self.self_attn = DeformableAttention(dim, heads=config.heads, levels=config.levels, points=config.points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.hidden)
        self.linear2 = nn.Linear(config.hidden, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, cells: Tensor, positions: Tensor, centers: Tensor, shapes: Shapes) -> Tensor:
        """Return the shape of the cells; arguments as in `Encoder.forward`."""
        cells = self.norm1(cells + self.self_attn(cells + positions, centers, cells, shapes))
        return apply_in_slices(self._feed_forward, cells)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.norm2(x + self.linear2(self.linear1(x).relu()))


class Encoder(nn.Module):
    """Alternating fusion, text and deformable layers."""

    def __init__(self, config: XposeConfig) -> None:
        super().__init__()
        dim, count = config.dim, config.encoder_layers
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(count))
        self.text_layers = nn.ModuleList(
            TextLayer(dim, heads=config.text_heads, hidden=config.text_hidden) for _ in range(count)
        )
        self.fusion_layers = nn.ModuleList(
            FusionLayer(dim, inner_dim=config.fusion_dim, heads=config.fusion_heads) for _ in range(count)
        )

    def forward(
        self, cells: Tensor, positions: Tensor, centers: Tensor, shapes: Shapes, text: Tensor, used: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encode image and text.

        Args:
            cells: cells of all levels, shape (B, N, dim).
            positions: position encodings of the cells, shape (N, dim).
            centers: centers of the cells, x and y in [0, 1], shape (N, 2).
            shapes: height and width of each level.
            text: tokens of the instance prompts, shape (B, n, dim).
            used: False for padding of the tokens, shape (n,), bool; None without padding.

        Returns:
            Encoded cells and tokens, shapes of `cells` and `text`.
        """
        centers = centers.expand(cells.shape[0], -1, -1)
        for fusion, text_layer, layer in zip(self.fusion_layers, self.text_layers, self.layers, strict=True):
            cells, text = fusion(cells, text, used)
            text = text_layer(text)
            cells = layer(cells, positions, centers, shapes)
        return cells, text
