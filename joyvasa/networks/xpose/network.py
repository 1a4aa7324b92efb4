"""X-Pose: detects boxes and keypoints that prompts describe (Yang et al. 2024, arXiv:2310.08530)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.networks.xpose.backbone import SwinTransformer
from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.decoder import Decoder, Predictions
from joyvasa.networks.xpose.encoder import Encoder
from joyvasa.networks.xpose.layers import Mlp
from joyvasa.networks.xpose.positions import Shapes, cell_centers, map_encoding
from joyvasa.networks.xpose.text import Prompts, Text

NORM_GROUPS = 32
PROPOSAL_SIDE = 0.05  # of proposals in the finest level, as a fraction of the image; doubled by each further level
PROPOSAL_MARGIN = 0.01  # proposals closer than this to the border of the image are invalid


class Transformer(nn.Module):
    """Encoder, selection of proposals and decoder."""

    def __init__(self, config: XposeConfig, heads: dict[str, nn.ModuleList]) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.level_embed = nn.Parameter(torch.randn(config.levels, dim))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, heads)
        self.tgt_embed = nn.Embedding(config.proposals, dim)
        self.enc_output = nn.Linear(dim, dim)
        self.enc_output_norm = nn.LayerNorm(dim)
        self.enc_out_bbox_embed = Mlp(dim, dim, dim, 4)

    def forward(
        self, maps: list[Tensor], instances: Tensor, keypoints: Tensor, used: Tensor | None, visible: Tensor | None
    ) -> Predictions:
        """Detect boxes and keypoints.

        Args:
            maps: feature maps, each of shape (B, dim, height, width).
            instances: embedded instance prompts, shape (n, dim).
            keypoints: embedded keypoint prompts, shape (k, dim).
            used: False for padding of the instance prompts, shape (n,), bool; None without padding.
            visible: False for padding of the keypoint prompts, shape (k,), bool; None without padding.
        """
        shapes = [(level.shape[2], level.shape[3]) for level in maps]
        device = maps[0].device
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)  # (B, N, dim)
        positions = torch.cat(
            [
                map_encoding(*shape, dim=self.config.dim, device=device) + level_embed
                for shape, level_embed in zip(shapes, self.level_embed, strict=True)
            ]
        )

        tokens = instances.expand(len(cells), -1, -1)
        cells, tokens = self.encoder(cells, positions, cell_centers(shapes, device=device), shapes, tokens, used)
        text = Text(tokens, used)

        boxes = self._propose(cells, shapes, text)
        queries = self.tgt_embed.weight[: boxes.shape[1]].expand(len(cells), -1, -1)
        return self.decoder(queries, boxes, cells, shapes, text, keypoints, visible)

    def _propose(self, cells: Tensor, shapes: Shapes, text: Text) -> Tensor:
        """Return boxes at the cells that match the text best, shape (B, proposals, 4), best first."""
        proposals, valid = box_proposals(shapes, device=cells.device)
        x = self.enc_output_norm(self.enc_output(cells * valid[:, None]))
        indices = text.select_best(x, self.config.proposals)  # (B, proposals)
        steps = self.enc_out_bbox_embed(x.take_along_dim(indices[..., None], dim=1))
        return (steps.float() + proposals[indices]).sigmoid()


class Xpose(nn.Module):
    """Detector of boxes and keypoints described by text.

    Its weights are published for non-commercial research only and are not part of this project.
    """

    def __init__(self, config: XposeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or XposeConfig()
        dim = config.dim
        keypoint_layers = config.decoder_layers - config.box_layers
        # All layers share one head; published files contain it under the name of each layer.
        heads = {
            "bbox_embed": nn.ModuleList([Mlp(dim, dim, dim, 4)] * config.decoder_layers),
            "pose_embed": nn.ModuleList([Mlp(dim, dim, dim, 2)] * (keypoint_layers + 1)),
            "pose_hw_embed": nn.ModuleList([Mlp(dim, dim, dim, 2)] * keypoint_layers),
        }
        self.transformer = Transformer(config, heads)
        self.projection = Mlp(config.prompt_dim, dim, dim, dim)
        self.projection_kpt = Mlp(config.prompt_dim, dim, dim, dim)
        # Used in training only; contained in published files.
        self.label_enc = nn.Embedding(config.labels + 1, dim)
        self.pos_proj = nn.Linear(dim, config.padding_dim)
        self.padding = nn.Embedding(1, config.padding_dim)

        self.backbone = nn.ModuleList([SwinTransformer(config)])
        widths = [config.backbone_width << stage for stage in range(1, config.levels)]
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, dim, kernel_size=1), nn.GroupNorm(NORM_GROUPS, dim)) for width in widths
        )
        self.input_proj.append(
            nn.Sequential(
                nn.Conv2d(widths[-1], dim, kernel_size=3, stride=2, padding=1), nn.GroupNorm(NORM_GROUPS, dim)
            )
        )
        self.bbox_embed = heads["bbox_embed"]
        self.pose_embed = heads["pose_embed"]
        self.pose_hw_embed = heads["pose_hw_embed"]

    def forward(self, image: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Return `boxes` and `keypoints` of `predict`."""
        predictions = self.predict(image, prompts)
        return predictions.boxes, predictions.keypoints

    def predict(self, image: Tensor, prompts: Prompts) -> Predictions:
        """Detect boxes and keypoints.

        Args:
            image: RGB image normalized by mean and deviation of ImageNet, without padding, shape
                (B, 3, height, width).
            prompts: prompts for all images.

        Returns:
            The 50 best boxes of each image, with k keypoints each.

        Raises:
            ConfigError: `too_many_keypoints`.
        """
        if len(prompts.keypoints) > self.config.keypoints:
            raise ConfigError(
                "too_many_keypoints",
                f"xpose: {len(prompts.keypoints)} keypoint prompts found; expected at most {self.config.keypoints}: "
                "ask for fewer",
            )

        stages = self.backbone[0](image)
        maps = [project(stage) for project, stage in zip(self.input_proj, [*stages, stages[-1]], strict=True)]
        return self.transformer(
            maps,
            self.projection(prompts.instances),
            self.projection_kpt(prompts.keypoints),
            prompts.instances_used,
            prompts.keypoints_used,
        )


def box_proposals(shapes: Shapes, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return one box per cell.

    Returns:
        Logits of center x, center y, width and height, infinite for invalid boxes, shape (N, 4); and the valid boxes,
        shape (N,), bool.
    """
    sides = torch.cat(
        [
            torch.full((height * width, 2), PROPOSAL_SIDE * 2**level, device=device)
            for level, (height, width) in enumerate(shapes)
        ]
    )
    boxes = torch.cat([cell_centers(shapes, device=device), sides], dim=1)
    valid = ((boxes > PROPOSAL_MARGIN) & (boxes < 1 - PROPOSAL_MARGIN)).all(-1)
    return torch.log(boxes / (1 - boxes)).masked_fill(~valid[:, None], math.inf), valid
