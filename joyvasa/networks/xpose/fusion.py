"""Picture and text look at each other (GLIP, arXiv:2112.03857, section 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOGIT_RANGE = 50_000.0  # logits further below the largest count as this far below


class BiAttention(nn.Module):
    """One table of logits between cells and text tokens, read in both directions.

    There are thousands of cells and few tokens. So the projections of the cells are never computed: they are linear,
    and are applied to the tokens' side of each product instead.

    Args:
        dim: width of cells and tokens.
        inner_dim: width of all heads together.
        heads: of the attention.
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
        """Attends both ways.

        Args:
            cells: shape (B, N, dim).
            tokens: shape (B, n, dim).
            used: shape (n,), bool, False for padding; None if all are used.

        Returns:
            Shares (B, N, heads * n) and values (B, heads * n, dim), whose product is what the cells take from the
            tokens; and what the tokens take from the cells (B, n, dim).
        """
        keys = self.l_proj(tokens).unflatten(-1, (self.heads, -1))  # (B, n, heads, d)
        keys = keys / math.sqrt(keys.shape[-1])
        directions = torch.einsum("bnhd,hdc->bhnc", keys, self._by_head(self.v_proj.weight))
        levels = torch.einsum("bnhd,hd->bhn", keys, self._by_head(self.v_proj.bias))
        logits = directions.flatten(1, 2) @ cells.transpose(1, 2) + levels.flatten(1, 2)[..., None]
        logits = (logits - logits.max()).clamp(min=-LOGIT_RANGE)  # (B, heads * n, N)

        values = self.values_l_proj(tokens).unflatten(-1, (self.heads, -1))
        values = torch.einsum("bnhd,chd->bhnc", values, self.out_v_proj.weight.unflatten(-1, (self.heads, -1)))
        values = (values + self.out_v_proj.bias / self.heads).flatten(1, 2)  # the shares of a head add up to 1
        shares = logits.unflatten(1, (self.heads, -1))  # (B, heads, n, N)
        if used is not None:
            shares = shares.masked_fill(~used[:, None], -math.inf)
        shares = shares.softmax(dim=2).flatten(1, 2).transpose(1, 2)  # (B, N, heads * n)

        pooled = (logits - logits.amax(-1, keepdim=True)).clamp(min=-LOGIT_RANGE).softmax(-1) @ cells
        taken = torch.einsum(
            "bhnc,hdc->bnhd", pooled.unflatten(1, (self.heads, -1)), self._by_head(self.values_v_proj.weight)
        )
        to_tokens = self.out_l_proj((taken + self._by_head(self.values_v_proj.bias)).flatten(2))
        return shares, values, to_tokens

    def _by_head(self, parameter: Tensor) -> Tensor:
        return parameter.unflatten(0, (self.heads, -1))


class FusionLayer(nn.Module):
    """`BiAttention` of the normed input, added to the normed input."""

    def __init__(self, dim: int, *, inner_dim: int, heads: int) -> None:
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(dim)
        self.layer_norm_l = nn.LayerNorm(dim)
        self.attn = BiAttention(dim, inner_dim=inner_dim, heads=heads)
        self.gamma_v = nn.Parameter(torch.full((dim,), 1e-4))
        self.gamma_l = nn.Parameter(torch.full((dim,), 1e-4))

    def forward(self, cells: Tensor, tokens: Tensor, used: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keeps the shapes; arguments as in `BiAttention.forward`."""
        cells, tokens = self.layer_norm_v(cells), self.layer_norm_l(tokens)
        shares, values, to_tokens = self.attn(cells, tokens, used)
        return torch.baddbmm(cells, shares, self.gamma_v * values), tokens + self.gamma_l * to_tokens


class TextLayer(nn.Module):
    """A transformer layer in which a token attends to itself only.

    Each prompt is one token, so the softmax over it is 1 and queries, keys and position codes have no effect: the
    attention is a linear map. Their parameters exist because published files hold them.
    """

    def __init__(self, dim: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Keeps the shape (batch, tokens, dim)."""
        dim = tokens.shape[-1]
        value = F.linear(tokens, self.self_attn.in_proj_weight[2 * dim :], self.self_attn.in_proj_bias[2 * dim :])
        tokens = self.norm1(tokens + self.self_attn.out_proj(value))
        return self.norm2(tokens + self.linear2(self.linear1(tokens).relu()))
