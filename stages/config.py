"""Configuration shared by the stages of the video pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from joyvasa.config import apply_options
from joyvasa.errors import ConfigError
from joyvasa.options import AnimationConfig
from manifests.record import Record

Determinism = Literal["fast", "strict"]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Base configuration of the stages that run networks.

    Raises:
        ConfigError: `config_invalid`.
    """

    # every option of the method; each stage uses the ones it needs
    animation: AnimationConfig = field(default_factory=AnimationConfig)
    # `fast`: records share network calls, which affects results by float rounding. `strict`: the shape of each network
    # call depends on the record alone, so that results are bit-identical in any batch; slower. Only for the same CPU
    # type and thread count
    determinism: Determinism = "fast"

    def __post_init__(self) -> None:
        if self.determinism not in ("fast", "strict"):
            raise ConfigError("config_invalid", f"determinism is {self.determinism!r}; expected fast or strict")

    def for_record(self, record: Record) -> AnimationConfig:
        """Return the options of the method with those that the row sets."""
        return apply_options(self.animation, record.options)

    @property
    def strict(self) -> bool:
        """Whether results must be bit-identical in any batch."""
        return self.determinism == "strict"
