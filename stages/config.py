"""Options that the stages of the video pipeline share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from joyvasa.errors import ConfigError
from joyvasa.models import AnimationConfig

Determinism = Literal["fast", "strict"]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage that computes is made from.

    Attributes:
        animation: every option of the method; each stage takes from it what concerns it.
        determinism: `fast`: records share network calls as they come, which changes results by float rounding.
            `strict`: the shape of each network call depends on nothing but the record, so that its bytes never depend
            on what shares its batch; slower. On one kind of machine with one number of threads, as ever.

    Raises:
        ConfigError: `config_invalid`.
    """

    animation: AnimationConfig = field(default_factory=AnimationConfig)
    determinism: Determinism = "fast"

    def __post_init__(self) -> None:
        if self.determinism not in ("fast", "strict"):
            raise ConfigError("config_invalid", f"determinism is {self.determinism!r}; expected fast or strict")

    @property
    def strict(self) -> bool:
        """Whether bytes must not depend on the batch."""
        return self.determinism == "strict"
