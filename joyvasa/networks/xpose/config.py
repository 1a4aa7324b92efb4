"""Sizes of X-Pose."""

from __future__ import annotations

from dataclasses import dataclass

from joyvasa.networks.config import NetworkConfig, size_error


@dataclass(frozen=True, kw_only=True)
class XposeConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights with the Swin-T backbone.

    Raises:
        ConfigError: `bad_network_size`, also if sizes do not match.
    """

    backbone_width: int = 96  # channels of the first stage; doubled by each further stage
    backbone_depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of each stage
    backbone_heads: tuple[int, ...] = (3, 6, 12, 24)  # attention heads of each stage
    window: int = 7  # side of an attention window, in patches of 4 pixels
    dim: int = 256  # width of both transformers
    prompt_dim: int = 512  # text embedding of CLIP ViT-B/32
    levels: int = 4  # feature maps: stages of the backbone except the first, and one of half the size of the last
    heads: int = 8
    points: int = 4  # samples per head and level
    encoder_layers: int = 6
    decoder_layers: int = 6
    box_layers: int = 2  # first layers of the decoder, which have boxes only; the others have boxes and keypoints
    hidden: int = 2048  # width of the feed-forward layers of image and queries
    text_hidden: int = 1024  # width of the feed-forward layers of the text
    text_heads: int = 4
    fusion_dim: int = 1024  # width of the attention between image and text
    fusion_heads: int = 4
    proposals: int = 900  # boxes that enter the decoder
    boxes: int = 50  # boxes with keypoints
    keypoints: int = 68  # maximum number of keypoint prompts
    own_sizes: int = 17  # keypoints whose size is stored in `hw`; the sizes of the others are in `hw_append`
    labels: int = 2000  # training classes, whose embeddings are in the published file but unused
    padding_dim: int = 768  # width of two unused parameters of the published file

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
        raise size_error(self, name, repr(getattr(self, name)), expected)
