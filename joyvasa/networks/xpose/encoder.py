"""Encoder of X-Pose: alternating layers over feature maps and text."""

from __future__ import annotations

from torch import Tensor, nn

from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.deformable import DeformableAttention
from joyvasa.networks.xpose.fusion import FusionLayer, TextLayer
from joyvasa.networks.xpose.layers import apply_in_slices
from joyvasa.networks.xpose.positions import Shapes


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
