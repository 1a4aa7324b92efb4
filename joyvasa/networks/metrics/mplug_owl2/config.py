"""Sizes of mPLUG-Owl2, with the field names of the `config.json` of published weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from joyvasa.networks.config import NetworkConfig, size_error


@dataclass(frozen=True, kw_only=True)
class VisionConfig(NetworkConfig):
    """Sizes of the vision transformer (CLIP's ViT-L/14 at 448 pixels)."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 448
    patch_size: int = 14

    @property
    def patches_per_side(self) -> int:
        """Return the number of patches along a side of the image."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class AbstractorConfig(NetworkConfig):
    """Sizes of the visual abstractor."""

    num_learnable_queries: int = 64
    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 6
    num_attention_heads: int = 16


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(NetworkConfig):
    """Sizes of the language model (LLaMA-2-7B)."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048  # context length in tokens


@dataclass(frozen=True, kw_only=True)
class MplugOwl2Config:
    """Sizes of the three parts.

    Raises:
        ConfigError: `bad_network_size`.
    """

    # sizes of each part, or a mapping of its fields
    vision: VisionConfig = field(default_factory=VisionConfig)
    abstractor: AbstractorConfig = field(default_factory=AbstractorConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    rms_norm_eps: float = 1e-6  # epsilon of the norms of the language model

    def __post_init__(self) -> None:
        part_classes = {"vision": VisionConfig, "abstractor": AbstractorConfig, "language": LanguageConfig}
        for name, part_class in part_classes.items():
            part = getattr(self, name)
            if isinstance(part, Mapping):
                part = part_class(**part)
                object.__setattr__(self, name, part)
            if part.hidden_size % part.num_attention_heads or part.hidden_size // part.num_attention_heads % 2:
                expected = f"an even multiple of {part.num_attention_heads}"
                raise size_error(self, f"{name}.hidden_size", str(part.hidden_size), expected)

        if self.abstractor.hidden_size != self.vision.hidden_size or self.vision.hidden_size % 4:
            expected = f"that of the vision transformer ({self.vision.hidden_size}), a multiple of 4"
            raise size_error(self, "abstractor.hidden_size", str(self.abstractor.hidden_size), expected)
        if not 0 < self.rms_norm_eps < 1:
            raise size_error(self, "rms_norm_eps", repr(self.rms_norm_eps), "a number between 0 and 1")
