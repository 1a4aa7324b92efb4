"""Sizes of X-Pose."""

from __future__ import annotations

from dataclasses import dataclass

from joyvasa.errors import ConfigError
from joyvasa.networks.config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class XposeConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights with the Swin-T backbone.

    Raises:
        ConfigError: `bad_network_size`, also where sizes do not fit one another.
    """

    backbone_width: int = 96  # channels of the first stage; doubles with every stage
    backbone_depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of each stage
    backbone_heads: tuple[int, ...] = (3, 6, 12, 24)  # of the attention in each stage
    window: int = 7  # side of an attention window, in patches of 4 pixels
    dim: int = 256  # width of both transformers
    prompt_dim: int = 512  # of a text embedding by CLIP ViT-B/32
    levels: int = 4  # feature maps: all stages of the backbone but the first, and one at half the last one's size
    heads: int = 8
    points: int = 4  # samples that a head takes in each level
    encoder_layers: int = 6
    decoder_layers: int = 6
    box_layers: int = 2  # of the decoder's: they see boxes only, the others boxes and keypoints
    hidden: int = 2048  # width of the feed-forward layers for the picture and the queries
    text_hidden: int = 1024  # the same for the text
    text_heads: int = 4
    fusion_dim: int = 1024  # width of the attention between picture and text
    fusion_heads: int = 4
    proposals: int = 900  # boxes that enter the decoder
    boxes: int = 50  # boxes that get keypoints
    keypoints: int = 68  # most keypoints of a prompt
    own_sizes: int = 17  # keypoints whose size is stored under `hw`; that of the others is under `hw_append`
    labels: int = 2000  # classes of the training, whose embeddings the published file holds
    padding_dim: int = 768  # width of two parameters of the published file that are not used

    def __post_init__(self) -> None:
        super().__post_init__()
        stages = len(self.backbone_depths)
        if len(self.backbone_heads) != stages:
            self._refuse("backbone_heads", f"one number for each of the {stages} stages")
        if self.levels != stages or stages < 2:
            self._refuse("levels", f"{max(stages, 2)}, as many as the backbone has stages, at least 2")
        for stage, heads in enumerate(self.backbone_heads):
            if (self.backbone_width << stage) % heads:
                self._refuse("backbone_heads", f"divisors of the {self.backbone_width << stage} channels of a stage")
        if self.dim % 32 or self.dim % self.heads or self.dim % self.text_heads:
            self._refuse("dim", f"a multiple of 32, of {self.heads} heads and of {self.text_heads} text heads")
        if self.fusion_dim % self.fusion_heads:
            self._refuse("fusion_dim", f"a multiple of the {self.fusion_heads} heads")
        if self.box_layers >= self.decoder_layers:
            self._refuse("box_layers", f"fewer than the {self.decoder_layers} layers of the decoder")
        if self.boxes > self.proposals:
            self._refuse("boxes", f"at most the {self.proposals} proposals")
        if self.own_sizes >= self.keypoints:
            self._refuse("own_sizes", f"fewer than the {self.keypoints} keypoints")

    def _refuse(self, name: str, expected: str) -> None:
        raise ConfigError(
            "bad_network_size",
            f"XposeConfig.{name}: found {getattr(self, name)!r}; expected {expected}: "
            "correct the network's configuration",
        )
