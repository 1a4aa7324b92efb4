"""Encoder of X-Pose: feature maps and text in turns."""

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

    def forward(self, cells: Tensor, positions: Tensor, places: Tensor, shapes: Shapes) -> Tensor:
        """Keeps the shape of the cells; arguments as in `Encoder.forward`."""
        cells = self.norm1(cells + self.self_attn(cells + positions, places, cells, shapes))
        return apply_in_slices(self._feed_forward, cells)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.norm2(x + self.linear2(self.linear1(x).relu()))


class Encoder(nn.Module):
    """Fusion, text and deformable layers in turns."""

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
        self, cells: Tensor, positions: Tensor, places: Tensor, shapes: Shapes, text: Tensor, used: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encodes picture and text.

        Args:
            cells: all cells of all levels, shape (B, N, dim).
            positions: their position codes, shape (N, dim).
            places: their centres, shape (N, 2), x and y from 0 to 1.
            shapes: height and width of each level.
            text: tokens, shape (B, n, dim).
            used: shape (n,), bool, False for padding; None if all are used.

        Returns:
            Encoded cells and tokens, shapes as they came.
        """
        places = places.expand(cells.shape[0], -1, -1)
        for fusion, text_layer, layer in zip(self.fusion_layers, self.text_layers, self.layers, strict=True):
            cells, text = fusion(cells, text, used)
            text = text_layer(text)
            cells = layer(cells, positions, places, shapes)
        return cells, text
