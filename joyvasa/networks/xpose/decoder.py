"""Decoder of X-Pose: boxes first, then the keypoints of the best boxes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.deformable import DeformableAttention
from joyvasa.networks.xpose.layers import Mlp
from joyvasa.networks.xpose.positions import Shapes, box_encoding, logit
from joyvasa.networks.xpose.text import Text


@dataclass(frozen=True, eq=False)
class Predictions:
    """Best boxes of B images for n instance prompts, with k keypoints each."""

    boxes: Tensor  # center x, center y, width and height as fractions of the image, shape (B, boxes, 4)
    keypoints: Tensor  # x and y as fractions of the image, shape (B, boxes, k, 2)
    logits: Tensor  # score of a box for each instance prompt, minus infinity for padding, shape (B, boxes, n)


class QueryDecoderLayer(nn.Module):
    """Attention among queries, to the text and to the image, then a feed-forward network."""

    def __init__(self, config: XposeConfig) -> None:
        super().__init__()
        dim, heads = config.dim, config.heads
        self.cross_attn = DeformableAttention(dim, heads=heads, levels=config.levels, points=config.points)
        self.norm1 = nn.LayerNorm(dim)
        self.ca_text = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.catext_norm = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.hidden)
        self.linear2 = nn.Linear(config.hidden, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        boxes: Tensor,
        cells: Tensor,
        shapes: Shapes,
        text: Text,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """Apply the layer to groups of queries, which attend only within their group.

        Args:
            queries: queries, shape (B, groups, size, dim).
            positions: position encodings of the queries, shape of `queries`.
            boxes: boxes of the queries, shape (B, groups, size, 4).
            cells: encoded cells of all levels, shape (B, N, dim).
            shapes: height and width of each level.
            text: encoded instance prompts.
            blocked: True where queries do not attend to each other, shape (size, size), bool; None for no mask.

        Returns:
            Queries, shape of `queries`.
        """
        groups = queries.shape[1]
        x, positions = queries.flatten(0, 1), positions.flatten(0, 1)  # (B groups, size, dim)
        query = x + positions
        x = self.norm2(x + self.self_attn(query, query, x, attn_mask=blocked, need_weights=False)[0])

        x, positions = x.unflatten(0, (-1, groups)).flatten(1, 2), positions.unflatten(0, (-1, groups)).flatten(1, 2)
        from_text, _ = self.ca_text(
            x + positions, text.tokens, text.tokens, key_padding_mask=text.padding, need_weights=False
        )
        x = self.catext_norm(x + from_text)  # (B, groups size, dim)
        x = self.norm1(x + self.cross_attn(x + positions, boxes.flatten(1, 2), cells, shapes))
        x = self.norm3(x + self.linear2(self.linear1(x).relu()))
        return x.view(queries.shape)


class Decoder(nn.Module):
    """Layers over boxes, then layers over groups of a box and its keypoints.

    Args:
        config: sizes.
        heads: shared heads by published name: `bbox_embed`, `pose_embed`, `pose_hw_embed`.
    """

    def __init__(self, config: XposeConfig, heads: dict[str, nn.ModuleList]) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.layers = nn.ModuleList(QueryDecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(dim)
        self.ref_point_head = Mlp(2 * dim, dim, dim)
        self.hw = nn.Embedding(config.own_sizes, 2)
        self.hw_append = nn.Embedding(config.keypoints - config.own_sizes, 2)
        self.bbox_embed = heads["bbox_embed"]
        self.pose_embed = heads["pose_embed"]
        self.pose_hw_embed = heads["pose_hw_embed"]

    def forward(
        self,
        queries: Tensor,
        boxes: Tensor,
        cells: Tensor,
        shapes: Shapes,
        text: Text,
        keypoints: Tensor,
        visible: Tensor | None,
    ) -> Predictions:
        """Decode boxes and keypoints.

        Args:
            queries: one query per proposal, shape (B, proposals, dim).
            boxes: boxes of the proposals, shape (B, proposals, 4).
            cells: encoded cells of all levels, shape (B, N, dim).
            shapes: height and width of each level.
            text: encoded instance prompts.
            keypoints: embedded keypoint prompts, shape (k, dim).
            visible: False for padding of the keypoint prompts, shape (k,), bool; None without padding.

        Returns:
            The best boxes and their keypoints.
        """
        config = self.config
        x, boxes = queries[:, None], boxes[:, None]  # (B, 1, proposals, dim)
        for layer in self.layers[: config.box_layers]:
            x = layer(x, self._positions(boxes), boxes, cells, shapes, text)
            boxes = step_in_logit_space(boxes, self.bbox_embed[0](x))

        x, boxes = self._select_best(x[:, 0], boxes[:, 0], text)
        x, boxes = self._add_keypoints(x, boxes, keypoints)  # (B, boxes, 1 + k, ...)
        blocked = None
        if visible is not None:
            visible = torch.cat([visible.new_ones(1), visible])  # the box is always visible
            blocked = visible[:, None] != visible
        for number, layer in enumerate(self.layers[config.box_layers :], 1):
            x = layer(x, self._positions(boxes), boxes, cells, shapes, text, blocked)
            if number < config.decoder_layers - config.box_layers:
                boxes = self._refine_groups(x, boxes)

        x = self.norm(x)
        return Predictions(
            boxes=step_in_logit_space(boxes[:, :, 0], self.bbox_embed[0](x[:, :, 0])),
            keypoints=step_in_logit_space(boxes[:, :, 1:, :2], self.pose_embed[0](x[:, :, 1:])),
            logits=text.logits(x[:, :, 0]),
        )

    def _positions(self, boxes: Tensor) -> Tensor:
        return self.ref_point_head(box_encoding(boxes, dim=self.config.dim // 2))

    def _select_best(self, x: Tensor, boxes: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        """Return the queries that match the text best, best first."""
        indices = text.select_best(x, self.config.boxes)[..., None]  # (B, boxes, 1)
        return x.take_along_dim(indices, dim=1), boxes.take_along_dim(indices, dim=1)

    def _add_keypoints(self, x: Tensor, boxes: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Form groups of a box and one query per keypoint, placed around the center of the box."""
        count = len(keypoints)
        sizes = torch.cat([self.hw.weight, self.hw_append.weight])[:count].sigmoid()
        centers = step_in_logit_space(boxes[:, :, None, :2], self.pose_embed[0](keypoints))  # (B, boxes, k, 2)
        keypoint_boxes = torch.cat([centers, boxes[:, :, None, 2:] * sizes], dim=-1)
        x = torch.cat([x[:, :, None], keypoints.expand(*x.shape[:2], -1, -1)], dim=2)
        return x, torch.cat([boxes[:, :, None], keypoint_boxes], dim=2)

    def _refine_groups(self, x: Tensor, boxes: Tensor) -> Tensor:
        """Refine the box and the keypoints of each group."""
        steps = torch.cat([self.pose_embed[0](x[:, :, 1:]), self.pose_hw_embed[0](x[:, :, 1:])], dim=-1)
        return step_in_logit_space(boxes, torch.cat([self.bbox_embed[0](x[:, :, :1]), steps], dim=2))


def step_in_logit_space(coordinates: Tensor, step: Tensor) -> Tensor:
    """Add a step to the logits of coordinates in [0, 1]; the result is float32."""
    return (step.float() + logit(coordinates.float())).sigmoid()
