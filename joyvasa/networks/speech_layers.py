"""Layers of HuBERT base and wav2vec 2.0 base, with the names and the arithmetic of their versions in `transformers`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

DROPOUT = 0.1  # share of dropped attention weights and activations during training
LAYER_DROP = 0.1  # share of layers of the transformer that training skips
WEIGHT_STD = 0.02  # of the initial weights of linear layers


class FeatureExtractor(nn.Module):
    """Convolutions over the waveform."""

    def __init__(self, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        sizes = zip((1, *widths), widths, kernels, strides, strict=False)  # the last width is no input
        self.conv_layers = nn.ModuleList(
            ConvolutionLayer(*layer, normalize=index == 0) for index, layer in enumerate(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute features (B, width, frames) of audio (B, 1, samples)."""
        for layer in self.conv_layers:
            x = layer(x)
        return x


class ConvolutionLayer(nn.Module):
    """Convolution and GELU; the first layer normalizes each channel over time between the two."""

    def __init__(self, in_width: int, width: int, kernel: int, stride: int, *, normalize: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_width, width, kernel, stride, bias=False)
        self.layer_norm = nn.GroupNorm(width, width) if normalize else None
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features of (B, in_width, frames)."""
        x = self.conv(x)
        return F.gelu(x if self.layer_norm is None else self.layer_norm(x))


class FeatureProjection(nn.Module):
    """LayerNorm and projection to the width of the transformer."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(in_width)
        self.projection = _linear(in_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Project features (B, frames, in_width)."""
        return self.projection(self.layer_norm(x))


class Transformer(nn.Module):
    """Transformer over frames, which know their positions from a convolution."""

    def __init__(
        self, width: int, *, layers: int, heads: int, hidden: int, position_kernel: int, position_groups: int
    ) -> None:
        super().__init__()
        self.pos_conv_embed = PositionConvolution(width, position_kernel, position_groups)
        self.layer_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, hidden) for _ in range(layers))
        self.layer_drop = LAYER_DROP

    def forward(self, x: Tensor) -> Tensor:
        """Compute the hidden states of the last layer for (B, frames, width)."""
        x = F.dropout(self.layer_norm(x + self.pos_conv_embed(x)), DROPOUT, self.training)
        for layer in self.layers:
            if self.training and torch.rand(()).item() < self.layer_drop:
                continue
            x = layer(x)
        return x


class PositionConvolution(nn.Module):
    """Grouped convolution over time with normalized weights, and GELU."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(self.conv.weight, std=math.sqrt(4 / (kernel * width)))
        nn.init.zeros_(self.conv.bias)  # pyright: ignore[reportArgumentType]
        self.conv = weight_norm(self.conv, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """Compute what is added to (B, frames, width)."""
        n_frames = x.shape[1]
        x = self.conv(x.transpose(1, 2))[..., :n_frames]  # an even kernel results in one frame more
        return F.gelu(x).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Attention and feed-forward network, each followed by LayerNorm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.layer_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the hidden states after this layer for (B, frames, width)."""
        x = self.layer_norm(x + F.dropout(self.attention(x), DROPOUT, self.training))
        return self.final_layer_norm(x + self.feed_forward(x))


class Attention(nn.Module):
    """Self-attention with several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = _linear(width, width)
        self.v_proj = _linear(width, width)
        self.q_proj = _linear(width, width)
        self.out_proj = _linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from each frame of (B, frames, width) to all frames."""
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, frames, width / heads)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        # Written out, since the fused kernels differ in rounding between devices and releases.
        weights = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
        weights = F.dropout(weights.softmax(dim=-1), DROPOUT, self.training)
        return self.out_proj(torch.matmul(weights, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.intermediate_dense = _linear(width, hidden)
        self.output_dense = _linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each frame of (B, frames, width)."""
        x = F.dropout(F.gelu(self.intermediate_dense(x)), DROPOUT, self.training)
        return F.dropout(self.output_dense(x), DROPOUT, self.training)


def _linear(in_width: int, width: int) -> nn.Linear:
    layer = nn.Linear(in_width, width)
    nn.init.normal_(layer.weight, std=WEIGHT_STD)
    nn.init.zeros_(layer.bias)
    return layer
